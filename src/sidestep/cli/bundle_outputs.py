"""Places for a changed bundle, by the rule of `outputs`."""

from pathlib import Path

from sidestep.bundle.manifest import bundle_folder
from sidestep.cli.outputs import check_out
from sidestep.lazy_imports import imported_when_used
from sidestep.runs.folder import RunFolder

with imported_when_used():
    from sidestep.bundle import writing


def check_bundle_out(out: Path, *, overwrite: bool, source: Path) -> None:
    """Refuses, before the work, an `--out` where a changed bundle must not go.

    Args:
        out: the folder to write.
        overwrite: whether an older bundle there may be replaced.
        source: the bundle that is read, or the run that holds it.

    Raises:
        FileNotFoundError: there is no bundle to read.
        ValueError: something stands there, or it belongs to a run; says what to do.
    """
    read = bundle_folder(source)
    check_new_bundle_out(out, overwrite=overwrite, read=read)
    if read.resolve() in out.resolve().parents:
        raise ValueError(f"{out}: lies in the bundle that is read; choose another place for --out.")


def check_new_bundle_out(out: Path, *, overwrite: bool, read: Path | None = None) -> None:
    """Refuses, before the work, an `--out` where no bundle must go.

    Args:
        out: the folder to write.
        overwrite: whether an older bundle there may be replaced.
        read: the bundle that is read; None where the bundle comes from elsewhere.

    Raises:
        ValueError: something stands there, or it belongs to a run; says what to do.
    """
    check_out(out, overwrite=overwrite, read=[read], is_kind=writing.check_bundle_place)
    run = RunFolder(out.resolve().parent)
    if out.resolve() == run.bundle and run.is_run():
        raise ValueError(
            f"{out}: is the bundle that the run {run.path.name} trained; choose another place for "
            "--out."
        )
