"""`sidestep data`: splits a dataset, describes it, and makes a smaller one."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from sidestep.cli.console.next_step import embedding_of
from sidestep.cli.console.output import OUT, print_json, say, table, warn
from sidestep.cli.console.working import working
from sidestep.cli.options import AsJson, DryRun
from sidestep.cli.outputs import Overwrite, check_out
from sidestep.cli.written_dataset import write_dataset
from sidestep.data.clock import moment, unit_of
from sidestep.data.dataset import Dataset
from sidestep.data.global_time import (
    SHARE,
    Targets,
    strategy_in_words,
)
from sidestep.data.histories import Histories
from sidestep.data.importers.imported import Imported
from sidestep.data.new_split import Strategy, new_split
from sidestep.data.own_split import split_of
from sidestep.data.splits import Split
from sidestep.data.time_leak import time_leak
from sidestep.files import check_replaceable, whole_folder, write_json
from sidestep.lazy_imports import imported_when_used
from sidestep.runs.inputs import load_dataset
from sidestep.runs.judged_rows import warn_of_leak, warn_of_no_rows

with imported_when_used():
    from sidestep.evaluation import data_figure, data_profile, profile_words, split_profile

FIGURE = "figure.png"
STATS = "stats.json"

app = typer.Typer(
    no_args_is_help=True, help="Describe a dataset, split it, and make a smaller one."
)


@app.command("stats")
def stats(
    dataset: Annotated[Path, typer.Argument(help="The dataset folder.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help=f"A folder to write: {STATS}, and {FIGURE} with three panels."),
    ] = None,
    overwrite: Overwrite = False,
    json: AsJson = False,
) -> None:
    """Print what a paper's table says of a dataset; plot lengths, popularity and time.

    Examples:

      sidestep data stats runs/scientific/dataset

      sidestep data stats runs/scientific/dataset --out runs/scientific/stats --json
    """
    if out is not None:
        check_out(out, overwrite=overwrite, read=[dataset], is_kind=_check_place)
    loaded = load_dataset(dataset)
    with working("measuring"):
        used = split_of(loaded)
        measured = data_profile.profile(loaded, used)
    told = {"name": loaded.name, **asdict(measured)}
    if out is not None:
        histories = loaded.histories()
        with whole_folder(out) as folder:
            write_json(folder / STATS, told)
            data_figure.write_data_figure(
                folder / FIGURE,
                lengths=histories.lengths,
                item_counts=data_profile.item_counts(histories, len(loaded.items)),
                timestamps=histories.timestamps,
                title=loaded.name,
                marks=split_profile.part_starts(used),
            )
    if json:
        print_json(told)
    else:
        OUT.print(
            table(loaded.name, ["", ""], profile_words.profile_rows(measured, loaded.histories()))
        )
    for doubt in profile_words.doubts(measured):
        warn(doubt)
    if out is not None:
        say(f"Wrote {out / FIGURE} and {out / STATS}.")
    elif not json:
        say(
            "With --out FOLDER, the same command writes figures.",
            then=embedding_of(loaded, dataset),
        )


@app.command("split")
def split(
    dataset: Annotated[Path, typer.Argument(help="The dataset folder.")],
    strategy: Annotated[
        Strategy,
        typer.Option(help="Each user's last items, or everything after a moment, is held out."),
    ],
    validation_from: Annotated[
        str | None,
        typer.Option(help="First moment that is not trained on: a date, or a number in its unit."),
    ] = None,
    test_from: Annotated[str | None, typer.Option(help="First moment after validation.")] = None,
    validation_share: Annotated[
        float | None,
        typer.Option(help=f"Instead: share of all interactions. [default: {SHARE}]"),
    ] = None,
    test_share: Annotated[
        float | None, typer.Option(help=f"The same of the test. [default: {SHARE}]")
    ] = None,
    targets: Annotated[
        Targets,
        typer.Option(help="Which of a user's interactions in a period are asked for."),
    ] = "last",
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Write a split into a dataset folder; every later command then uses it.

    Vectors of what users do (--collaborative, --sasrec), catalogs of such vectors, and runs belong
    to the split that they were made from: make them again. Vectors of texts serve every split.

    Examples:

      sidestep data split runs/shop/dataset --strategy global-time

      sidestep data split runs/shop/dataset --strategy global-time --validation-from 2018-07-01
      --test-from 2018-10-01 --targets every

      sidestep data split runs/shop/dataset --strategy leave-one-out
    """
    loaded = load_dataset(dataset)
    with working("splitting"):
        histories = loaded.histories()
        made = new_split(
            histories,
            strategy,
            moments=(validation_from, test_from),
            shares=(validation_share, test_share),
            targets=targets,
        )
    loaded = replace(loaded, split=made)
    warn_of_no_rows(loaded, dataset)
    if not dry_run:
        with working("writing"):
            loaded.save(dataset)
    warn_of_leak(made, dataset)
    counts = split_profile.split_counts(loaded, histories, made)
    if json:
        leak = time_leak(made)
        print_json(
            {
                "path": str(dataset),
                "strategy": made.strategy,
                **counts,
                "leak": None if leak is None else asdict(leak),
                **({"dry_run": True} if dry_run else {}),
            }
        )
        return
    rows = [
        *_moments(made, histories),
        *([name.replace("_", " "), f"{count:,}"] for name, count in counts.items()),
    ]
    OUT.print(table(f"{loaded.name}, {strategy_in_words(made.strategy)}", ["", ""], rows))
    if dry_run:
        say("Nothing was written.")
        return
    say(
        f"Wrote the split into {dataset}. Vectors of what users do, catalogs of such vectors, and "
        "runs have to be made again.",
        then=embedding_of(loaded, dataset),
    )


@app.command("sample")
def sample(
    dataset: Annotated[Path, typer.Argument(help="The dataset folder.")],
    users: Annotated[int, typer.Option("--users", help="Users of the new dataset.", min=1)],
    out: Annotated[Path, typer.Option("--out", help="The dataset folder to write.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw.")] = 0,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Write a dataset of some of the users, drawn at random.

    A small dataset is good for a first try, and for methods that are too slow for all users. All
    items stay, so you can go on using vectors of texts, and catalogs of such vectors. Vectors of
    interactions must be made again.

    Examples:

      sidestep data sample runs/shop/dataset --users 2000 --out runs/shop/sample
    """
    check_out(out, overwrite=overwrite, read=[dataset], is_kind=Dataset.check_place)
    if dataset.resolve() in out.resolve().parents:
        raise ValueError(f"{out}: lies within the dataset {dataset}; choose a place beside it.")
    loaded = load_dataset(dataset)
    drawn = loaded.sampled(users, seed=seed)
    remarks = []
    if loaded.split is not None:
        remarks.append(
            f"The split of {dataset} is not copied: the new dataset has leave-one-out. For another "
            f"split: sidestep data split {out} --strategy {loaded.split.strategy.partition('@')[0]}"
        )
    num_left = len(loaded.interactions) - len(drawn.interactions)
    done = Imported(
        dataset=replace(drawn, name=f"{drawn.name}-{users}-users"),
        left_out={"belong to users who were not drawn": num_left} if num_left else {},
        remarks=remarks,
    )
    write_dataset(done, out, None, dry_run=dry_run, json=json)


def _check_place(path: Path) -> None:
    """Raises a `ValueError` where something else than statistics stands."""
    check_replaceable(
        path, "statistics", lambda folder: (folder / STATS).is_file(), (STATS, FIGURE)
    )


def _moments(split: Split, histories: Histories) -> list[list[str]]:
    """Rows of the moments at which a split begins its parts, as dates where they are some."""
    unit = unit_of(histories.timestamps) if histories.timestamps is not None else None
    return [
        [
            f"{part} from",
            moment(at, unit).isoformat(sep=" ").removesuffix("+00:00") if unit else f"{at:,}",
        ]
        for part, at in split_profile.part_starts(split).items()
    ]
