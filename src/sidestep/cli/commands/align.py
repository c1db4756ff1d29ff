"""`sidestep align` and `sidestep prefer`: a trained run, improved by a recipe."""

from pathlib import Path
from typing import Annotated, Any

import typer

from sidestep.bundle.manifest import MANIFEST, bundle_folder, read_manifest
from sidestep.cli.commands.train import train_by
from sidestep.cli.options import AsJson, DryRun
from sidestep.lazy_imports import imported_when_used
from sidestep.runs.config import checked_run
from sidestep.runs.folder import RunFolder
from sidestep.runs.recipes import AlignRecipe, PreferRecipe, settings_of
from sidestep.runs.settings import with_settings

with imported_when_used():
    from sidestep.runs import backbones

Backbone = Annotated[Path, typer.Argument(help="The trained run or bundle; it stays as it is.")]
DatasetFolder = Annotated[
    Path | None, typer.Option("--dataset", help="Default: the one that the run was trained on.")
]
Out = Annotated[Path, typer.Option("--out", help="The new run's folder.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting over the recipe, key=value; may be repeated."),
]
Seed = Annotated[int, typer.Option(min=0, help="Of shuffling and dropout.")]
Resume = Annotated[
    bool, typer.Option(help="Continue the run in --out if there is one; else refuse to overwrite.")
]


def align(
    backbone: Backbone,
    out: Out,
    recipe: Annotated[
        AlignRecipe, typer.Option(help="What is raised, and which search finds the candidates.")
    ] = "vstar",
    dataset: DatasetFolder = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(
            help="The .npy file of 'sidestep embed', which values and the reward 'semantic' go by."
        ),
    ] = None,
    collaborative: Annotated[
        Path | None, typer.Option(help="A run of kind sasrec, for the reward 'collaborative'.")
    ] = None,
    worth: Annotated[
        Path | None,
        typer.Option(
            help="A table with the columns item_id and worth, such as margins, for the rewards "
            "'worth', 'log-worth' and 'exact-worth'."
        ),
    ] = None,
    teachers: Annotated[
        list[Path] | None,
        typer.Option(
            "--teacher",
            help="With --recipe tree: another run on the same data whose item head teaches, too, "
            "such as a training with another seed; may be repeated.",
        ),
    ] = None,
    settings: Settings = None,
    seed: Seed = 0,
    resume: Resume = True,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Improve a trained run by reinforcement learning on what a search finds.

    The recipes grpo-ved, sibling-ved, vstar and vstar-optimum search by values: their run needs a
    value head, which all but the last go on training; the last leaves it out of the new run.
    tree needs no reward: the item head teaches the codes, until a plain beam ranks as it does. A
    graph beside the run (sidestep attach) and the item heads of other runs teach, too.
    sft-continued is their control: likelihood for as long. Every setting can be read and changed:
    `--dry-run` checks, `config.yaml` in the new run's folder says them all.

    Examples:

      sidestep align runs/scientific/transformer-0 --recipe grpo-beam
      --out runs/scientific/grpo-beam-0

      sidestep align runs/scientific/value-0 --recipe vstar --embeddings
      runs/scientific/vectors.npy --out runs/scientific/vstar-0

      sidestep align runs/scientific/transformer-0 --recipe grpo-beam --out runs/scientific/mixed-0
      --set "objective.rewards=[{reward: rank-aware}, {reward: item-head, weight: 0.5}]"

      sidestep align runs/scientific/tied-0 --recipe tree --teacher runs/scientific/tied-1
      --out runs/scientific/tree-0

      sidestep align runs/scientific/tree-0 --recipe optimum --worth margins.csv
      --set "objective.rewards=[{reward: log-worth, weight: 0.06}]"
      --out runs/scientific/margin-0

      sidestep align runs/scientific/transformer-0 --recipe sft-continued
      --out runs/scientific/continued-0 --set training.max_seconds=120
    """
    found = _dataset_of(backbone, dataset)
    content = {**_recipe(recipe, backbone), "backbone": str(backbone)}
    if embeddings is not None:
        content["embeddings"] = str(embeddings)
    if collaborative is not None:
        content["collaborative"] = str(collaborative)
    if worth is not None:
        content["worth"] = str(worth)
    if teachers:
        if recipe != "tree":
            raise ValueError("--teacher: only the recipe tree takes teachers; leave it out.")
        content["teachers"] = [str(teacher) for teacher in teachers]
    if recipe == "sft-continued":
        content["objective"]["likelihood"] = backbones.first_objective(backbone)
    given = settings or []
    train_by(
        checked_run(with_settings(content, given), f"--recipe {recipe}", settings=given),
        dataset=found,
        out=out,
        seed=seed,
        resume=resume,
        dry_run=dry_run,
        json=json,
    )


def prefer(
    backbone: Backbone,
    out: Out,
    recipe: Annotated[
        PreferRecipe, typer.Option(help="Against how many finds: several, or the best one.")
    ] = "sdpo",
    dataset: DatasetFolder = None,
    settings: Settings = None,
    seed: Seed = 0,
    resume: Resume = True,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Teach a trained run to prefer what came next to what it would recommend.

    Examples:

      sidestep prefer runs/scientific/transformer-0 --out runs/scientific/sdpo-0

      sidestep prefer runs/scientific/transformer-0 --recipe dpo --out runs/scientific/dpo-0
      --set objective.beta=0.5
    """
    found = _dataset_of(backbone, dataset)
    content = {**_recipe(recipe, backbone), "backbone": str(backbone)}
    given = settings or []
    train_by(
        checked_run(with_settings(content, given), f"--recipe {recipe}", settings=given),
        dataset=found,
        out=out,
        seed=seed,
        resume=resume,
        dry_run=dry_run,
        json=json,
    )


def _recipe(name: str, backbone: Path) -> dict[str, Any]:
    """The settings of a recipe for the network of a run or a bundle."""
    return settings_of(name, network=read_manifest(bundle_folder(backbone) / MANIFEST).kind)


def _dataset_of(backbone: Path, dataset: Path | None) -> Path:
    """The folder that was given, or that the run says it was trained on."""
    if dataset is not None:
        return dataset
    if not backbone.exists():
        raise FileNotFoundError(f"{backbone}: does not exist; name a trained run.")
    folder = RunFolder(backbone)
    if not folder.is_run():
        raise ValueError(
            f"{backbone}: is no run's folder, which would say what it was trained on; give "
            "--dataset."
        )
    return folder.dataset()
