"""`sidestep recommend-all`: lists for all users, as shards of parquet."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from sidestep.cli.console.output import print_json, say
from sidestep.cli.options import AsJson, Engine, RayAddress
from sidestep.cli.search_options import (
    Beams,
    BudgetTimes,
    Candidates,
    LikelihoodWeight,
    Search,
    SearchOptions,
    SearchPrecision,
)
from sidestep.lazy_imports import imported_when_used
from sidestep.runs.folder import RunFolder
from sidestep.runs.searches import AskedSearch
from sidestep.runs.settings import LARGEST

with imported_when_used():
    from sidestep.runs import recommending_all, recommending_ray

_MOST_ACTORS = 8
"""Actors that are not asked for: each of them holds the bundle in memory."""


def recommend_all(
    run: Annotated[Path, typer.Argument(help="The run's folder, or a bundle.")],
    out: Annotated[Path, typer.Option("--out", help="The folder of the shards.")],
    dataset: Annotated[
        Path | None,
        typer.Option(help="The dataset whose users get lists. [default: the one of the run]"),
    ] = None,
    histories: Annotated[
        Path | None,
        typer.Option(
            help="Instead of a dataset: a parquet file, or a folder of such files, with the "
            "columns user_id and history, a list of item IDs, oldest first. Each file is a shard."
        ),
    ] = None,
    shard_users: Annotated[
        int, typer.Option(min=1, max=LARGEST, help="Users of a shard, with a dataset.")
    ] = 10_000,
    k: Annotated[int, typer.Option("--k", "-k", min=1, max=LARGEST, help="Length of a list.")] = 10,
    search: Search = None,
    beams: Beams = None,
    candidates: Candidates = None,
    likelihood_weight: LikelihoodWeight = None,
    budget: BudgetTimes = None,
    search_options: SearchOptions = None,
    exclude_seen: Annotated[
        bool, typer.Option("--exclude-seen", help="Leave out items of each user's history.")
    ] = False,
    precision: SearchPrecision = "fp32",
    engine: Annotated[
        Engine, typer.Option(help="What makes the files: this process, or actors of Ray.")
    ] = "local",
    ray_actors: Annotated[
        int | None, typer.Option(min=1, help="Actors of Ray. [default: one per core, at most 8]")
    ] = None,
    ray_address: RayAddress = None,
    ray_gpus: Annotated[
        float, typer.Option(min=0, help="The share of a GPU that each actor of Ray gets.")
    ] = 0.0,
    json: AsJson = False,
) -> None:
    """Recommend items to all users, into parquet files.

    Each file has the columns user_id, item_id, rank, score and, where it is known, title. A file is
    whole or absent: after a stop, the same command makes the files that are missing.

    Examples:

      sidestep recommend-all runs/my/together --out lists --exclude-seen

      sidestep recommend-all runs/my/together --histories histories --k 20 --out lists-2

      sidestep recommend-all runs/my/together --out lists-3 --engine ray --ray-actors 4
    """
    if dataset is not None and histories is not None:
        raise ValueError("give either --dataset or --histories.")
    asked = AskedSearch.of_options(
        search,
        beams=beams,
        candidates=candidates,
        likelihood_weight=likelihood_weight,
        budget=budget,
        options=search_options,
    )
    if engine != "ray" and (ray_actors, ray_address, ray_gpus) != (None, None, 0.0):
        raise ValueError("--ray-actors, --ray-address and --ray-gpus need --engine ray.")
    if histories is None:
        if dataset is None and not RunFolder(run).is_run():
            raise ValueError(f"{run}: is no run that says which dataset it knows; give --dataset.")
        dataset = RunFolder(run).dataset(dataset)
    source = recommending_all.ShardSource(
        run=run.absolute(),
        dataset=None if dataset is None else dataset.absolute(),
        histories=None if histories is None else histories.absolute(),
        users_per_shard=shard_users,
        wanted=recommending_all.Wanted(
            k=k, exclude_seen=exclude_seen, search=asked, precision=precision
        ),
        out=out.absolute(),
    )
    shards: recommending_all.ShardEngine | None = None
    if engine == "ray":
        shards = recommending_ray.RayShards(
            load=source.maker,
            num_actors=ray_actors or min(os.cpu_count() or 1, _MOST_ACTORS),
            address=ray_address,
            gpus_per_actor=ray_gpus,
        )
    written = recommending_all.recommend_all(source.maker(), engine=shards)
    if written.num_unknown:
        say(f"{written.num_unknown:,} items of histories are not in the catalog.")
    say(
        f"Wrote {out}: {written.made} of {written.shards} files, for {written.users:,} users; the "
        "others were there."
        if written.made < written.shards
        else f"Wrote {out}: {written.shards} files, for {written.users:,} users."
    )
    if json:
        print_json(
            {
                "out": str(out),
                "shards": written.shards,
                "made": written.made,
                "users": written.users,
                "unknown_items": written.num_unknown,
            }
        )
