"""`sidestep attach`: a ranker of items beside a trained recommender."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sidestep.bundle.parts import GRAPH_WEIGHT
from sidestep.cli.console.next_step import recommendation_by
from sidestep.cli.console.output import note, print_json, say, warn
from sidestep.cli.options import AsJson
from sidestep.cli.outputs import Overwrite, check_out
from sidestep.files import whole_folder
from sidestep.lazy_imports import imported_when_used
from sidestep.notices import command
from sidestep.runs.folder import RunFolder
from sidestep.runs.inputs import load_bundle, load_dataset
from sidestep.runs.searches import GUIDANCE
from sidestep.runs.settings import LARGEST
from sidestep.search.config import GuidanceConfig

with imported_when_used():
    from sidestep.bundle import attaching
    from sidestep.bundle import loaded as recommenders
    from sidestep.data import dataset as datasets
    from sidestep.runs import chosen_weight, provenance


def attach(
    run: Annotated[Path, typer.Argument(help="The run, or the bundle, that gets the ranker.")],
    ranker: Annotated[Path, typer.Option(help="The run, or the bundle, of kind sasrec or graph.")],
    out: Annotated[Path, typer.Option("--out", help="The run's folder to write.")],
    weight: Annotated[
        float | None,
        typer.Option(
            help="Of the ranker's scores beside the network's own; more than 0. Default: 1 for a "
            "SASRec. For a graph, validation chooses one between 30 and 450; where the run does "
            f"not say where its dataset is, {GRAPH_WEIGHT:g}."
        ),
    ] = None,
    likelihood_weight: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=LARGEST,
            help="λ, of log π beside both, one for all levels, where a search is not told another; "
            f"default: 0 for a graph beside an item head, else {GUIDANCE.likelihood_weight:g}.",
        ),
    ] = None,
    dataset: Annotated[
        Path | None,
        typer.Option(
            help="The dataset by which the weight of a graph is chosen; default: the one that the "
            "run was trained on."
        ),
    ] = None,
    overwrite: Overwrite = False,
    json: AsJson = False,
) -> None:
    """Put a SASRec or a graph beside a trained recommender; nothing is trained.

    A network of semantic IDs with an item head then recommends by item-head, which ranks all items
    by head and ranker. With a weight of log π, or without an item head, it recommends by item-beam,
    which uses head, ranker and log π. To a SASRec the scores of the other are added. A ranker that
    stands there already is replaced. Both must have been trained on the same data.

    Examples:

      sidestep attach runs/my/transformer --ranker runs/my/sasrec --likelihood-weight 0.5
      --out runs/my/guided

      sidestep evaluate runs/my/guided

      sidestep attach runs/my/transformer --ranker runs/my/graph --out runs/my/both
    """
    if weight is not None and not 0 < weight <= LARGEST:
        raise ValueError(
            f"--weight {weight:g}: write a number above 0, at most {LARGEST}; 0 is the run as it "
            "is."
        )
    # A trained run may be continued: no other run goes into its place.
    is_kind = RunFolder.check_attached if overwrite else None
    check_out(out, overwrite=overwrite, read=[run, ranker], is_kind=is_kind)
    loaded, beside = load_bundle(run, device="cpu"), load_bundle(ranker, device="cpu")
    if likelihood_weight is not None and not loaded.is_searched:
        raise ValueError(
            f"--likelihood-weight {likelihood_weight:g}: {run} is {loaded.kind}, which has no log "
            "π; leave the option out."
        )
    guidance = None
    if likelihood_weight is not None:
        guidance = GuidanceConfig(likelihood_weight=likelihood_weight)
    source = RunFolder(run)
    # What does not fit is refused before the choice.
    made = attaching.attach_ranker(loaded, beside, weight=weight, guidance=guidance)
    _warn(loaded, beside)
    if weight is None and beside.kind == "graph":
        known = _dataset_of(source, loaded, dataset)
        chosen = None
        if known is not None:
            chosen = chosen_weight.choose_weight(loaded, beside, known, guidance=guidance)
            if chosen is None:
                note(f"The weight is {GRAPH_WEIGHT:g}: the dataset has no validation rows.")
        if chosen is not None:
            note(chosen.in_words)
            made = chosen.noted_in(
                attaching.attach_ranker(loaded, beside, weight=chosen.weight, guidance=guidance)
            )
    with whole_folder(out) as folder:
        made.save(RunFolder(folder).bundle)
        if source.is_run():
            RunFolder(folder).copy_description(source, ranker=str(ranker), place=out)
    if json:
        assert made.ranker_use is not None
        use = made.ranker_use.model_dump(mode="json", include={"weight", "guidance"})
        print_json({"path": str(out), "kind": made.kind, "ranker": str(ranker), **use})
        return
    is_run = source.is_run()
    then = command("evaluate", out) if is_run else recommendation_by(out, made.catalog)
    say(f"Wrote {out}: {run} with {ranker} beside it.", then=then)


def _dataset_of(
    run: RunFolder, loaded: recommenders.LoadedRecommender, given: Path | None
) -> datasets.Dataset | None:
    """The dataset that a run was trained on; None with a note where it is not there any more."""
    try:
        dataset = load_dataset(run.dataset() if given is None else given)
        provenance.refuse_other_data(loaded, dataset)
    except (FileNotFoundError, ValueError) as error:
        if given is not None:
            raise
        note(f"The weight is {GRAPH_WEIGHT:g}, because validation cannot choose one: {error}")
        return None
    return dataset


def _warn(loaded: recommenders.LoadedRecommender, ranker: recommenders.LoadedRecommender) -> None:
    """Says what is lost, and what may make the ranker worth less, or its results worth nothing."""
    if loaded.ranker_use is not None:
        warn("the ranker that stood beside this run is left out of the new one.")
    if not loaded.manifest.data or not ranker.manifest.data:
        warn(
            "it is not known on what both were trained: if one has seen what the other is judged "
            "by, results say nothing."
        )
    if ranker.max_history > loaded.max_history:
        warn(
            f"the ranker was trained on {ranker.max_history} past items, and is shown the "
            f"{loaded.max_history} that the network beside it reads."
        )
