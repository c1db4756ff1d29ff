"""Copies of bundles from folder to folder, with every hash compared: whole, or not at all.

Only files of the layout are copied. Links are refused, because a link may lead anywhere.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sidestep.bundle.card import read_card, write_card
from sidestep.bundle.folder import read_checked
from sidestep.bundle.layout import CARD, LAYOUT
from sidestep.bundle.manifest import MANIFEST, read_manifest
from sidestep.bundle.writing import check_bundle_place
from sidestep.files import whole_folder


def copy_bundle(source: Path, out: Path, *, card: str | None = None) -> None:
    """Copies a bundle; an older bundle at `out` is replaced.

    Args:
        source: the folder of the bundle.
        out: the folder to write.
        card: its card; None takes the one in the folder, or makes one where there is none.

    Raises:
        FileNotFoundError: a file of the bundle is gone.
        ValueError: the bundle is damaged, holds a link, or something else stands at `out`.
    """
    here, there = source.resolve(), out.resolve()
    if here.is_relative_to(there) or there.is_relative_to(here):
        raise ValueError(f"{out}: is, lies in, or holds the bundle {source}; choose another place.")
    with arriving_bundle(out) as folder:
        for name in bundle_names(source):
            place = folder / name
            place.parent.mkdir(exist_ok=True)
            shutil.copyfile(source / name, place)
        text = read_card(source) if card is None else card
        if text is not None:
            (folder / CARD).write_text(text, encoding="utf-8")


@contextmanager
def arriving_bundle(out: Path) -> Iterator[Path]:
    """Yields a temporary folder for the files of a bundle; moves it to `out` if they are right.

    A bundle without a card gets one.

    Args:
        out: an older bundle there is replaced at the end, and not before.

    Raises:
        FileNotFoundError: a file of the bundle has not come.
        ValueError: a file is damaged, is a link or no part of a bundle; or something else stands at
            `out`.
    """
    check_bundle_place(out)
    with whole_folder(out) as folder:
        yield folder
        refuse_strangers(folder)
        read_checked(folder)
        if read_card(folder) is None:
            write_card(folder)


def bundle_names(folder: Path) -> list[str]:
    """The paths of a bundle's files within its folder: the manifest and what it lists, in order.

    Raises:
        FileNotFoundError: a file is gone.
        ValueError: the manifest lists what no bundle holds, or a file is a link.
    """
    manifest = read_manifest(folder / MANIFEST)
    strange = sorted(manifest.files.keys() - LAYOUT)
    if strange:
        raise ValueError(f"{folder / MANIFEST}: lists {strange[0]!r:.80}, which no bundle holds.")
    names = sorted({MANIFEST, *manifest.files} - {CARD})
    for name in names:
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name}: missing from the bundle.")
        _refuse_link(folder, name)
    return names


def refuse_strangers(folder: Path) -> None:
    """Raises a `ValueError` where a folder holds a link, or a file that no bundle holds."""
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        _refuse_link(folder, name)
        if not file.is_dir() and name not in LAYOUT:
            raise ValueError(f"{name!r:.80} is no file that a bundle holds.")


def _refuse_link(folder: Path, name: str) -> None:
    """Raises a `ValueError` where a file, or a folder on the way to it, is a link."""
    if (folder / name).resolve() != folder.resolve() / name:
        raise ValueError(
            f"{folder / name}: is a link, which may lead out of the bundle; put the file itself in "
            "its place."
        )
