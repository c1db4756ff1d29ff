"""`sidestep compare`: runs side by side, how sure their means are, and whether they differ."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from sidestep.cli.console import OUT, comparison_table, print_json
from sidestep.cli.evaluate import num_users
from sidestep.cli.importing import AsJson
from sidestep.evaluation import compare as comparing
from sidestep.evaluation.results import PerUser, SplitName, read_per_user

METRIC = "NDCG@10"


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Runs' folders, folders of single evaluations, or per_user.parquet."),
    ],
    split: Annotated[SplitName, typer.Option(help="Which evaluations of a run to take.")] = "test",
    users: Annotated[
        str, typer.Option(help="And on which users: 'all', or so many fixed random ones.")
    ] = "all",
    reference: Annotated[
        str | None,
        typer.Option(help="The method to test the others against; default: the first."),
    ] = None,
    metric: Annotated[str, typer.Option(help="Of intervals and tests in the table.")] = METRIC,
    json: AsJson = False,
) -> None:
    """Compare evaluated runs: means, 95 % intervals over users, paired permutation tests.

    Runs that differ in their seed alone are one method. All must have been evaluated on the same
    users, so of each run only the evaluations on --users are taken.

    Examples:

      sidestep compare runs/scientific/transformer-0 runs/scientific/sasrec-0 --reference sasrec

      sidestep compare runs/scientific/*-? --split validation --json
    """
    wanted: int | Literal["all"] = num_users(users) or "all"
    per_user = [run for path in runs for run in _evaluations(path, split, wanted)]
    methods = comparing.compare(per_user, reference=reference or _first_label(per_user))
    if metric not in methods[0].estimates:
        raise ValueError(
            f"--metric {metric!r} is unknown; there are {', '.join(methods[0].estimates)}."
        )
    if json:
        print_json([method.as_json() for method in methods])
        return
    title = f"{per_user[0].dataset}, {per_user[0].split}, {methods[0].num_users:,} users"
    OUT.print(comparison_table(title, methods, metric))


def _first_label(per_user: Sequence[PerUser]) -> str:
    return comparing.compare(per_user, metrics=["MRR"])[0].label


def _evaluations(path: Path, split: SplitName, users: int | Literal["all"]) -> list[PerUser]:
    """The evaluation named, or all of a run on the split and the users."""
    if path.is_file():
        return [read_per_user(path)]
    if (path / "per_user.parquet").is_file():
        return [read_per_user(path / "per_user.parquet")]
    files = sorted((path / "evaluations").glob(f"{split}-*/per_user.parquet"))
    found = [run for run in map(read_per_user, files) if run.setting.users == users]
    if not found:
        raise FileNotFoundError(
            f"{path}: no evaluation on {split} and the users {users!r} here; run 'sidestep "
            f"evaluate {path} --split {split} --users {users}'."
        )
    return found
