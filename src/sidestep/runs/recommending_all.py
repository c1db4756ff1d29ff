"""Recommendations for all users, as shards of parquet; each shard is whole or absent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from sidestep.bundle.loaded import LoadedRecommender
from sidestep.bundle.ranked_items import ranked_frame
from sidestep.bundle.requests import Request
from sidestep.bundle.snapshot import Snapshot
from sidestep.data.dataset import Dataset
from sidestep.data.own_split import fingerprint
from sidestep.files import file_sha256, read_json, whole_file, write_json
from sidestep.notices import working
from sidestep.precision import Precision
from sidestep.runs.inputs import load_bundle, load_dataset
from sidestep.runs.searches import AskedSearch

PLAN = "plan.json"
"""The file that says of what, and how, the shards of a folder are made."""

_AT_ONCE = 1024
"""Users of one call, which a search takes in smaller batches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The lists that all users get.

    k: the longest list.
    exclude_seen: whether a list leaves out the items of the user's history.
    search: of the semantic IDs.
    precision: of the layers of a network that writes semantic IDs.
    """

    k: int = 10
    exclude_seen: bool = False
    search: AskedSearch = field(default_factory=AskedSearch)
    precision: Precision = "fp32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The outcome of one call.

    shards: files that are there now.
    made: those of them that this call made.
    users: users of the shards that this call made.
    num_unknown: items of their histories that the catalog lacks.
    """

    shards: int
    made: int
    users: int
    num_unknown: int


class Users(ABC):
    """Users in shards, with their histories."""

    @property
    @abstractmethod
    def shards(self) -> Sequence[str]:
        """The names of the shards."""

    @abstractmethod
    def described(self) -> dict[str, Any]:
        """The source of the users, as JSON; other users have another description."""

    @abstractmethod
    def requests(self, shard: int, recommender: LoadedRecommender) -> dict[str, Request]:
        """The requests of the users of a shard, by user ID, without `k` and search."""


class DatasetUsers(Users):
    """All users of a dataset, in its order; histories hold all their interactions."""

    def __init__(self, dataset: Dataset, *, users_per_shard: int) -> None:
        """Divides the users.

        Args:
            dataset: of the users.
            users_per_shard: users of every shard but the last one.
        """
        self._dataset = dataset
        self._histories = dataset.histories().inputs()
        self._starts = range(0, len(self._histories), users_per_shard)

    @property
    def shards(self) -> Sequence[str]:
        """See `Users.shards`."""
        return [f"part-{number:05d}.parquet" for number in range(len(self._starts))]

    def described(self) -> dict[str, Any]:
        """See `Users.described`."""
        return {"dataset": fingerprint(self._dataset), "users_per_shard": self._starts.step}

    def requests(self, shard: int, recommender: LoadedRecommender) -> dict[str, Request]:
        """See `Users.requests`."""
        histories, start = self._histories, self._starts[shard]
        users = histories.user_ids[start : start + self._starts.step]
        item_ids, times = self._dataset.items.item_ids, histories.timestamps
        info: Sequence[dict[str, Any] | None] = [None] * len(users)
        if recommender.user_columns is not None and self._dataset.users is not None:
            table = self._dataset.users.of(users)
            info = table.select([*recommender.user_columns]).to_dicts()
        found = {}
        for row, (user, about) in enumerate(zip(users, info, strict=True), start=start):
            own = slice(histories.offsets[row], histories.offsets[row + 1])
            reads_times = times is not None and recommender.reads_times
            found[user] = Request(
                history=[item_ids[item] for item in histories.items[own]],
                times=times[own].tolist() if times is not None and reads_times else None,
                user_info=about,
            )
        return found


class ParquetUsers(Users):
    """Users of parquet files with the columns user_id and history, a list of item IDs.

    Each file becomes one shard, and its users are in memory at once. A user belongs into one file.
    """

    def __init__(self, path: Path) -> None:
        """Names the files.

        Args:
            path: a file, or a folder whose *.parquet files are the shards, by name.

        Raises:
            FileNotFoundError: there is no such file, or the folder holds none.
            ValueError: a file has other columns; says which.
        """
        self._files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        if not self._files or not all(file.is_file() for file in self._files):
            raise FileNotFoundError(f"{path}: there is no parquet file; name a file or a folder.")
        for file in self._files:
            schema = pl.read_parquet_schema(file)
            wanted = {"user_id": pl.String, "history": pl.List(pl.String)}
            for name, kind in wanted.items():
                if schema.get(name) != kind:
                    has = f"has {name} of type {schema[name]}" if name in schema else "has none"
                    raise ValueError(
                        f"{file}: needs a column {name} of type {kind}, and {has}; the columns "
                        f"are {', '.join(schema)}."
                    )

    @property
    def shards(self) -> Sequence[str]:
        """See `Users.shards`."""
        return [f"part-{number:05d}.parquet" for number in range(len(self._files))]

    def described(self) -> dict[str, Any]:
        """See `Users.described`."""
        return {"histories": [f"{file.name} {file_sha256(file)}" for file in self._files]}

    def requests(self, shard: int, recommender: LoadedRecommender) -> dict[str, Request]:
        """See `Users.requests`.

        Raises:
            ValueError: a user or a history is missing, or a user stands there twice.
        """
        file = self._files[shard]
        frame = pl.read_parquet(file, columns=["user_id", "history"])
        if frame["user_id"].has_nulls() or frame["history"].has_nulls():
            raise ValueError(f"{file}: a user_id or a history is missing; write [] for no history.")
        if frame["user_id"].is_duplicated().any():
            twice = frame.filter(pl.col("user_id").is_duplicated())["user_id"][0]
            raise ValueError(f"{file}: the user {twice!r} stands there twice; write one row each.")
        rows = zip(frame["user_id"], frame["history"].to_list(), strict=True)
        return {user: Request(history=[item for item in past if item]) for user, past in rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One shard that was made.

    users: of the shard.
    num_unknown: items of their histories that the catalog lacks.
    """

    users: int
    num_unknown: int


class ShardMaker:
    """Makes shards by number, in any order and in any process.

    users: in shards.
    """

    def __init__(
        self, recommender: LoadedRecommender, users: Users, wanted: Wanted, out: Path
    ) -> None:
        """Makes the search, which all shards share; writes nothing.

        Args:
            recommender: answers.
            users: in shards.
            wanted: their lists.
            out: the folder of the shards.

        Raises:
            ValueError: the search or the precision does not fit the bundle.
        """
        self.users = users
        self._recommender = recommender.with_precision(wanted.precision)
        self._wanted = wanted
        self._out = out
        self._asked = wanted.search.of(recommender)
        self._search = self._asked.for_lists(recommender, wanted.k)

    def begin(self) -> list[int]:
        """Writes the plan of a new folder, or goes on in the folder of the same plan.

        Returns:
            The numbers of the shards that are not there yet.

        Raises:
            ValueError: the folder holds something else; it stays as it is.
        """
        names = self.users.shards
        plan = {
            "bundle": str(Snapshot.of(self._recommender).id),
            "users": self.users.described(),
            "k": self._wanted.k,
            "exclude_seen": self._wanted.exclude_seen,
            **({} if self._wanted.precision == "fp32" else {"precision": self._wanted.precision}),
            "search": self._asked.settings(self._recommender),
            "shards": len(names),
        }
        _begin(self._out, plan)
        return [number for number, name in enumerate(names) if not (self._out / name).exists()]

    def make(self, number: int) -> Made:
        """Makes a shard, whole or not at all."""
        requests = self.users.requests(number, self._recommender)
        wanted = self._wanted
        asked_for = [
            replace(request, k=wanted.k, exclude_seen=wanted.exclude_seen, search=self._search)
            for request in requests.values()
        ]
        answers = [
            answer
            for start in range(0, len(asked_for), _AT_ONCE)
            for answer in self._recommender.answer(asked_for[start : start + _AT_ONCE])
        ]
        with whole_file(self._out / self.users.shards[number]) as temporary:
            ranked_frame(dict(zip(requests, answers, strict=True))).write_parquet(temporary)
        return Made(users=len(requests), num_unknown=sum(each.num_unknown for each in answers))


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSource:
    """Paths and settings from which any process loads its maker of shards.

    run: the run, or its bundle.
    dataset: whose users get lists; None where `histories` names them.
    histories: see `ParquetUsers`.
    users_per_shard: with a dataset.
    wanted: the lists.
    out: the folder of the shards.
    """

    run: Path
    dataset: Path | None = None
    histories: Path | None = None
    users_per_shard: int = 10_000
    wanted: Wanted = field(default_factory=Wanted)
    out: Path

    def maker(self) -> ShardMaker:
        """Loads the bundle, and divides the users."""
        users: Users
        if self.histories is not None:
            users = ParquetUsers(self.histories)
        elif self.dataset is not None:
            dataset = load_dataset(self.dataset)
            users = DatasetUsers(dataset, users_per_shard=self.users_per_shard)
        else:
            raise ValueError("nothing says who gets lists: name a dataset, or histories.")
        recommender = load_bundle(self.run)
        return ShardMaker(recommender, users, self.wanted, self.out)


ShardEngine = Callable[[Sequence[int]], Iterator[Made]]
"""Makes shards of these numbers, and tells of each when it is there."""


def recommend_all(maker: ShardMaker, *, engine: ShardEngine | None = None) -> Written:
    """Writes lists for all users: user_id, item_id, rank from 1, score, and title if known.

    Shards that are there already, of the same bundle, users and settings, are not made again.

    Args:
        maker: of the shards.
        engine: makes the shards; None makes one after the other, in this process.

    Raises:
        ValueError: the folder of the shards holds something else.
    """
    missing = maker.begin()
    made: list[Made] = []
    with working("recommending") as report:
        report("the first shard", 0, len(missing))
        shards = map(maker.make, missing) if engine is None or not missing else engine(missing)
        for each in shards:
            made.append(each)
            report(f"{len(made)} of {len(missing)} shards", len(made), len(missing))
    return Written(
        shards=len(maker.users.shards),
        made=len(made),
        users=sum(each.users for each in made),
        num_unknown=sum(each.num_unknown for each in made),
    )


def _begin(out: Path, plan: dict[str, Any]) -> None:
    """Writes the plan of a new folder, or goes on in the folder of the same plan.

    Raises:
        ValueError: the folder holds something else; it stays as it is.
    """
    file = out / PLAN
    if file.is_file():
        found = read_json(file)
        if found != plan:
            before = found if isinstance(found, dict) else {}
            other = [key for key in {**plan, **before} if before.get(key) != plan.get(key)]
            raise ValueError(
                f"{out}: holds lists of another {' and another '.join(other)}; choose another "
                "folder, or delete this one."
            )
        return
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out}: exists and holds no {PLAN}; choose another folder.")
    out.mkdir(parents=True, exist_ok=True)
    write_json(file, plan)
