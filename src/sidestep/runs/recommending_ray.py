"""Shards of recommendations by Ray: actors make them, on one machine or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sidestep.ray_cluster import started
from sidestep.runs.recommending_all import Made, ShardMaker

Load = Callable[[], ShardMaker]
"""Loads a bundle and names its users; Ray sends the function to its actors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RayShards:
    """An engine of shards, see `sidestep.runs.recommending_all.ShardEngine`.

    Every actor loads the bundle once. All of them see the same folders: on a cluster, the bundle,
    the users and the shards lie on a disk that all machines share.

    load: gives an actor its maker of shards.
    num_actors: actors at once.
    address: of a cluster, such as "auto"; None starts Ray on this machine, and ends it again.
    gpus_per_actor: the share of a GPU that an actor gets.
    """

    load: Load
    num_actors: int
    address: str | None = None
    gpus_per_actor: float = 0.0

    def __call__(self, numbers: Sequence[int]) -> Iterator[Made]:
        """Makes shards of these numbers, in no order.

        Raises:
            ImportError: Ray is not installed.
            ValueError: an actor could not make a shard; says why.
            ConnectionError: an actor or the cluster has ended.
        """
        with started(self.address) as ray:
            try:
                yield from self._made(ray, numbers)
            except ray.exceptions.RayError as error:
                raise ConnectionError(
                    f"an actor or the cluster of Ray has ended ({error}); the same command makes "
                    "the files that are missing."
                ) from error

    def _made(self, ray: Any, numbers: Sequence[int]) -> Iterator[Made]:
        items = [{"number": number} for number in numbers]
        # As many blocks as shards from the start: a repartition would need a core beside those of
        # the actors, and wait for it for ever.
        rows = ray.data.from_items(items, override_num_blocks=len(items))
        made = rows.map_batches(
            _Actor,
            fn_constructor_args=(self.load,),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(self.num_actors, len(items))),
            num_gpus=self.gpus_per_actor,
        )
        for row in made.iter_rows():
            if row["failure"]:
                raise ValueError(f"an actor of Ray could not make a shard: {row['failure']}")
            yield Made(users=int(row["users"]), num_unknown=int(row["num_unknown"]))


class _Actor:
    """Makes shards in a process of Ray."""

    def __init__(self, load: Load) -> None:
        self._load = cache(load)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        [number] = batch["number"]
        try:
            made, failure = self._load().make(int(number)), ""
        except Exception as error:  # Ray would wrap it, and try again
            made, failure = Made(users=0, num_unknown=0), f"{error}"
        return {
            "users": [made.users],
            "num_unknown": [made.num_unknown],
            "failure": [failure],
        }
