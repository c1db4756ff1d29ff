"""`sidestep attach`: a ranker of items beside a trained recommender."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from sidestep.bundle.attaching import attach_ranker
from sidestep.bundle.folder import load, save_loaded
from sidestep.cli.console import print_json, say
from sidestep.cli.options import AsJson
from sidestep.cli.runs import RunFolder
from sidestep.cli.searches import GUIDANCE
from sidestep.files import whole_folder
from sidestep.search.scorer import GuidanceConfig


def attach(
    run: Annotated[Path, typer.Argument(help="The run, or the bundle, that gets the ranker.")],
    ranker: Annotated[Path, typer.Option(help="The run, or the bundle, of kind sasrec.")],
    out: Annotated[Path, typer.Option("--out", help="The run's folder to write.")],
    weight: Annotated[
        float, typer.Option(help="Of the ranker's scores beside the network's own; more than 0.")
    ] = 1.0,
    likelihood_weight: Annotated[
        float,
        typer.Option(min=0, help="λ, of log π beside both, where a search is not told another."),
    ] = GUIDANCE.likelihood_weight,
    json: AsJson = False,
) -> None:
    """Put a SASRec beside a trained recommender, to guide its search; nothing is trained.

    A network of semantic IDs keeps its beam search; `--search item-beam` then goes by its item
    head, the ranker and log π together, or by the ranker and log π where it has no item head. To a
    SASRec the scores of the other are added. Both must have been trained on the same data. Choose
    the weights on validation.

    Examples:

      sidestep attach runs/my/transformer --ranker runs/my/sasrec --likelihood-weight 0.5
      --out runs/my/guided

      sidestep evaluate runs/my/guided --search item-beam
    """
    if not 0 < weight < float("inf"):
        raise ValueError(f"--weight {weight:g}: write a number above 0; 0 is the run as it is.")
    _refuse_contents(out)
    guidance = GuidanceConfig(likelihood_weight=likelihood_weight)
    made = attach_ranker(
        load(run, device="cpu"), load(ranker, device="cpu"), weight=weight, guidance=guidance
    )
    source = RunFolder(run)
    with whole_folder(out) as folder:
        save_loaded(RunFolder(folder).bundle, made)
        if source.is_run():
            for name in (source.description, source.config):
                shutil.copy(name, folder / name.name)
    if json:
        print_json({"path": str(out), "kind": made.kind, "ranker": str(ranker), "weight": weight})
        return
    searched = " --search item-beam" if made.is_searched else ""
    follow = f"evaluate {out}{searched}" if source.is_run() else f"recommend {out} --history ID,ID"
    say(f"Wrote {out}: {run} with {ranker} beside it. Next: sidestep {follow}")


def _refuse_contents(out: Path) -> None:
    """Attaching takes a moment, so nothing is ever replaced."""
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise ValueError(f"{out}: exists; choose another folder for --out, or remove it first.")
