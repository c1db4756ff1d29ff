"""`sidestep push`: a bundle with its card, on the hub or in a folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from sidestep.bundle.manifest import bundle_folder
from sidestep.cli.bundle_outputs import check_bundle_out
from sidestep.cli.console.output import print_json, say
from sidestep.cli.options import AsJson, DryRun
from sidestep.lazy_imports import imported_when_used
from sidestep.notices import command

with imported_when_used():
    from sidestep.runs import publishing


def push(
    bundle: Annotated[Path, typer.Argument(help="The bundle, or the run that holds it.")],
    target: Annotated[
        str | None,
        typer.Argument(help="OWNER/NAME on the Hugging Face hub, or a folder such as ./shared."),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            help="Write this folder instead, in the same layout; the card then names OWNER/NAME."
        ),
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="Make a new repository that only you can read.")
    ] = False,
    revision: Annotated[
        str | None, typer.Option(help="The branch to write. [default: the main branch]")
    ] = None,
    license: Annotated[
        str | None,
        typer.Option(help="For the card, such as apache-2.0. [default: the card names none]"),
    ] = None,
    users: Annotated[
        bool | None,
        typer.Option(
            "--users/--no-users",
            help="Share the histories of known users, where the bundle holds some.",
            show_default=False,
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Publish without a question.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an older bundle in the folder.")
    ] = False,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Share a bundle with its model card: on the Hugging Face hub, or in a folder.

    The card, README.md, says what the bundle is, on which data it was trained, and what the run's
    evaluations have measured. A card that you have changed by hand stays as it is. On the hub, all
    files come in one commit. You need the extra `hf` and a token: 'hf auth login', or the
    environment variable HF_TOKEN.

    Examples:

      sidestep push runs/shop/transformer --folder shared

      sidestep push runs/shop/transformer my-name/shop --private --license apache-2.0
    """
    repository, place = publishing.where_to(target, folder)
    publishing.refuse_options_of_hub(place, private=private, revision=revision)
    bundle_folder(bundle)  # says at once that there is none
    if place is not None:
        check_bundle_out(place, overwrite=overwrite, source=bundle)
    elif overwrite:
        raise ValueError("--overwrite is for a folder; the hub keeps older commits anyway.")
    with publishing.parcel(bundle, repository=repository, license=license, users=users) as made:
        if dry_run:
            planned = made.published(str(place or repository))
            say(f"Would write {_contents(planned)} to {planned.target}. Nothing was written.")
            _print(planned, json=json)
            return
        if place is not None:
            published = made.to_folder(place)
            out = place.with_name(f"{place.name}-copy")
            then = command("pull", place, "--out", out)
        else:
            assert repository is not None
            if not private and not yes:
                _ask(repository)
            published = made.to_hub(repository, private=private, revision=revision)
            then = command("pull", repository, "--out", repository.partition("/")[2])
    say(f"Wrote {_contents(published)} to {published.target}.", then=then)
    _print(published, json=json)


def _ask(repository: str) -> None:
    """Asks before a bundle becomes public; a `ValueError` where nobody can answer or wants it."""
    if not sys.stdin.isatty():
        raise ValueError(
            f"{repository}: everybody may be able to read this repository; give --yes to publish, "
            "or --private."
        )
    if not typer.confirm(f"Publish to {repository}, where everybody may read it?", err=True):
        raise ValueError("nothing was published.")


def _contents(published: publishing.Published) -> str:
    return f"{len(published.names)} files, {published.size_bytes / 1e6:.1f} MB,"


def _print(published: publishing.Published, *, json: bool) -> None:
    if json:
        print_json(
            {
                "target": published.target,
                "files": list(published.names),
                "bytes": published.size_bytes,
                "commit": published.commit,
            }
        )
