"""`sidestep pull`: a bundle from the hub or a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sidestep.bundle.manifest import MANIFEST, bundle_folder, read_manifest
from sidestep.cli.bundle_outputs import check_bundle_out, check_new_bundle_out
from sidestep.cli.console.output import print_json, say
from sidestep.cli.options import AsJson
from sidestep.cli.outputs import Overwrite
from sidestep.lazy_imports import imported_when_used
from sidestep.notices import command

with imported_when_used():
    from sidestep.runs import publishing


def pull(
    source: Annotated[str, typer.Argument(help="OWNER/NAME on the Hugging Face hub, or a folder.")],
    out: Annotated[Path, typer.Option("--out", help="The bundle to write.")],
    revision: Annotated[
        str | None,
        typer.Option(help="A branch, a tag or a commit. [default: the main branch]"),
    ] = None,
    overwrite: Overwrite = False,
    json: AsJson = False,
) -> None:
    """Fetch a bundle from the Hugging Face hub or a folder, and check every file.

    Only files that belong to a bundle are fetched, and the hash of each is compared with the
    manifest. The bundle is put at --out when all of them are right, and not before. Nothing is
    unpickled. The hub needs the extra `hf`, and a token for private repositories.

    Examples:

      sidestep pull my-name/shop --out shop

      sidestep pull /mnt/models/shop --out shop
    """
    if Path(source).is_dir():
        check_bundle_out(out, overwrite=overwrite, source=Path(source))
    else:
        if not publishing.is_repository(source):
            raise FileNotFoundError(f"{source}: no folder here, and no OWNER/NAME on the hub.")
        check_new_bundle_out(out, overwrite=overwrite)
    publishing.fetch(source, out, revision=revision)
    manifest = read_manifest(bundle_folder(out) / MANIFEST)
    say(f"Wrote {out}, a {manifest.kind}; every file is as its manifest says.", then=_next(out))
    if json:
        print_json({"path": str(out), "kind": manifest.kind, "files": sorted(manifest.files)})


def _next(out: Path) -> str:
    return command("serve", out)
