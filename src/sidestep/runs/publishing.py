"""Publishing of bundles: to the Hugging Face hub or a local folder in the same layout, and back."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from sidestep.bundle.card import check_license
from sidestep.bundle.layout import CARD, LAYOUT, USERS
from sidestep.bundle.manifest import MANIFEST, bundle_folder, read_manifest
from sidestep.files import read_json
from sidestep.lazy_imports import imported_when_used
from sidestep.notices import naming_arguments, note, warn, working
from sidestep.runs.cards import card_of

with imported_when_used():
    from sidestep.bundle import folder as bundles
    from sidestep.bundle import loaded as recommenders
    from sidestep.bundle import transport
    from sidestep.runs import hub

_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9][A-Za-z0-9_.-]{0,95}")

_OF_THE_HUB = frozenset({".gitattributes", CARD})
"""Files of a repository in which nobody has put anything yet."""

_DESCRIPTIONS = (MANIFEST, "catalog/manifest.json", "catalog/tokenizer.json")
"""Files of a bundle that may name the files it was made from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A bundle that was published.

    target: OWNER/NAME, or the folder.
    names: the paths of its files, the card included.
    size_bytes: of all files.
    commit: on the hub; None for a folder.
    """

    target: str
    names: tuple[str, ...]
    size_bytes: int
    commit: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A bundle that is ready to be published.

    folder: of the bundle.
    names: the paths of its files, without the card.
    card: the text of the card.
    """

    folder: Path
    names: tuple[str, ...]
    card: str

    @property
    def size_bytes(self) -> int:
        """The size of all files, the card included."""
        files = sum((self.folder / name).stat().st_size for name in self.names)
        return files + len(self.card.encode())

    def published(self, target: str, commit: str | None = None) -> Published:
        """The result once the files are at the target."""
        names = (*self.names, CARD)
        return Published(target=target, names=names, size_bytes=self.size_bytes, commit=commit)

    def to_folder(self, folder: Path) -> Published:
        """Writes the bundle into a folder, whole or not at all; an older bundle is replaced.

        Raises:
            ValueError: something else stands there.
        """
        transport.copy_bundle(self.folder, folder, card=self.card)
        return self.published(str(folder))

    def to_hub(self, repository: str, *, private: bool, revision: str | None) -> Published:
        """Writes the bundle to the hub in one commit.

        Files of an older bundle that the new one lacks are taken away. All other files stay.

        Args:
            repository: OWNER/NAME.
            private: whether a new repository is private.
            revision: a branch; None is the main branch.

        Raises:
            ValueError: there is no token, the token may not write there, the repository holds
                something else, or it is public and should not be.
            ConnectionError: the hub cannot be reached.
        """
        remote = hub.Hub(writes=True)
        before = remote.make(repository, private=private, revision=revision)
        if private and not before.is_private:
            raise ValueError(
                f"{repository}: is there already, and everybody can read it; make it private on "
                "the hub, name another repository, or leave --private out."
            )
        others = sorted(set(before.names) - _OF_THE_HUB)
        if others and MANIFEST not in others:
            raise ValueError(
                f"{repository}: holds something else than a bundle ({others[0]}); name another "
                "repository."
            )
        files: dict[str, Path | bytes] = {name: self.folder / name for name in self.names}
        files[CARD] = self.card.encode()
        with working(f"uploading to {repository}"):
            commit = remote.commit(
                repository,
                files,
                deleted=(set(before.names) & LAYOUT) - files.keys(),
                message="A bundle of Sidestep",
                revision=revision,
                parent=before.commit,
            )
        return self.published(repository, commit)


def push(
    source: Path | str | recommenders.LoadedRecommender,
    target: str | None = None,
    *,
    folder: Path | str | None = None,
    private: bool = False,
    revision: str | None = None,
    license: str | None = None,
    users: bool | None = None,
) -> Published:
    """Publishes a bundle with its card: on the Hugging Face hub, or in a local folder.

    The card holds all evaluations of the bundle that its run keeps.

    Args:
        source: a run, a bundle or a recommender.
        target: OWNER/NAME on the hub, or a path such as `./shared`.
        folder: a folder to write instead of the hub. An older bundle there is replaced. `target` is
            then the repository that the card names.
        private: whether a new repository on the hub is private.
        revision: a branch of the repository; None is the main branch.
        license: an identifier such as `apache-2.0`, for the card.
        users: whether to share the histories of known users, where the bundle holds some.

    Raises:
        FileNotFoundError: there is no bundle.
        ValueError: the bundle is damaged, holds histories of users and `users` is None, or cannot
            go to the target; says what to do.
        ConnectionError: the hub cannot be reached.
        ImportError: the hub needs the extra `hf`.
    """
    with naming_arguments():
        repository, place = where_to(target, None if folder is None else Path(folder))
        refuse_options_of_hub(place, private=private, revision=revision)
        with parcel(source, repository=repository, license=license, users=users) as made:
            if place is not None:
                return made.to_folder(place)
            assert repository is not None
            return made.to_hub(repository, private=private, revision=revision)


def pull(source: str | Path, out: Path | str, *, revision: str | None = None) -> Path:
    """Fetches a bundle from the hub or a folder, and puts it at `out`, whole or not at all.

    The hash of every file is compared with the manifest. Only files that belong to a bundle are
    fetched. An older bundle at `out` is replaced.

    Args:
        source: OWNER/NAME on the hub, or a folder. A folder that is there comes first.
        out: the folder to write.
        revision: a branch, a tag or a commit on the hub; None is the main branch.

    Returns:
        The folder, for `load`.

    Raises:
        FileNotFoundError: there is no such folder, or a file of the bundle is missing.
        ValueError: the source is no bundle, the bundle is damaged, or something else stands at
            `out`.
        ConnectionError: the hub cannot be reached.
        ImportError: the hub needs the extra `hf`.
    """
    with naming_arguments():
        return fetch(source, Path(out), revision=revision)


def fetch(source: str | Path, out: Path, *, revision: str | None = None) -> Path:
    """Does what `pull` does; its messages name options of commands.

    Args:
        source, out, revision: see `pull`.

    Raises:
        FileNotFoundError, ValueError, ConnectionError, ImportError: see `pull`.
    """
    if Path(source).is_dir():
        if revision is not None:
            raise ValueError(
                f"{source}: is a folder here, and has no revisions; leave --revision out."
            )
        transport.copy_bundle(bundle_folder(Path(source)), out)
        return out
    if isinstance(source, Path) or not is_repository(source):
        raise FileNotFoundError(f"{source}: no folder here, and no OWNER/NAME on the hub.")
    remote = hub.Hub(writes=False)
    found = remote.at(source, revision)
    names = set(found.names) & LAYOUT
    if MANIFEST not in names:
        raise ValueError(
            f"{source}: holds no bundle, as {MANIFEST} is missing; name a repository that "
            "'sidestep push' has written."
        )
    left = set(found.names) - names - _OF_THE_HUB
    if left:
        note(f"{len(left)} other files of {source} are no part of the bundle and stay there.")
    with transport.arriving_bundle(out) as folder, working(f"downloading {source}"):
        remote.download(source, found.commit, names, folder)
    return out


@contextmanager
def parcel(
    source: Path | str | recommenders.LoadedRecommender,
    *,
    repository: str | None,
    license: str | None,
    users: bool | None,
) -> Iterator[Parcel]:
    """Yields a bundle that is ready to be published: checked, with its card.

    Args:
        source, license, users: see `push`.
        repository: OWNER/NAME that the card names; None names none.

    Raises:
        FileNotFoundError, ValueError: see `push`.
    """
    check_license(license)
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sidestep-push-")))
        if isinstance(source, Path | str):
            bundle = bundle_folder(Path(source))
        else:
            bundle = place / "recommender" / "bundle"
            source.save(bundle)
        measured = bundle
        has_users = USERS in read_manifest(bundle / MANIFEST).files
        if has_users and users is None:
            raise ValueError(
                f"{bundle}: holds the histories of known users; share them with --users, or leave "
                "them out with --no-users."
            )
        if has_users and not users:
            without = place / "without-users" / "bundle"
            bundles.load(bundle, device="cpu").with_users(None).save(without)
            measured, bundle = bundle, without
        bundles.read_checked(bundle)
        _warn_of_paths(bundle)
        yield Parcel(
            folder=bundle,
            names=tuple(transport.bundle_names(bundle)),
            card=card_of(bundle, measured=measured, repository=repository, license=license),
        )


def where_to(target: str | None, folder: Path | None) -> tuple[str | None, Path | None]:
    """The repository that a card names, and the folder to write instead of the hub, if any.

    Args:
        target: OWNER/NAME, or a path that begins with `.`, `/` or `~`.
        folder: see `push`.

    Raises:
        ValueError: the target is neither, or there is none.
    """
    if target is not None and target[:1] in (".", "/", "~"):
        if folder is not None:
            raise ValueError(f"{target}: is a folder, and --folder names another; give one.")
        return None, Path(target).expanduser()
    if target is not None and not is_repository(target):
        raise ValueError(
            f"{target}: is no OWNER/NAME on the hub; for a folder write ./{target} or --folder "
            f"{target}."
        )
    if target is None and folder is None:
        raise ValueError("name a target: OWNER/NAME on the hub, or --folder FOLDER.")
    return target, folder


def refuse_options_of_hub(folder: Path | None, *, private: bool, revision: str | None) -> None:
    """Raises a `ValueError` for options that say nothing about a folder."""
    if folder is not None and (private or revision is not None):
        raise ValueError("--private and --revision are for the hub; leave them out for a folder.")


def is_repository(name: str) -> bool:
    """Whether a text is OWNER/NAME as the hub has it."""
    return _REPOSITORY.fullmatch(name) is not None and ".." not in name and "--" not in name


def _warn_of_paths(bundle: Path) -> None:
    """Warns where descriptions of a bundle name files of this machine, which others would read."""
    for name in _DESCRIPTIONS:
        if (bundle / name).is_file():
            found = next(_absolute_paths(read_json(bundle / name)), None)
            if found is not None:
                warn(
                    f"{name} of the bundle names a path of this machine, which others will read: "
                    f"{json.dumps(found)}."
                )


def _absolute_paths(value: Any) -> Iterator[str]:
    """The texts within JSON that are absolute paths."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from _absolute_paths(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _absolute_paths(inner)
    elif isinstance(value, str) and len(value) > 1:
        is_path = value.startswith(("/", "~/")) or PureWindowsPath(value).is_absolute()
        if is_path and "\n" not in value:
            yield value
