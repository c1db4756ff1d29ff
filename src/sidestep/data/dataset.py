"""Dataset: interactions and the items they name, and the folder that stores both."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from sidestep.data.events import EventWeights
from sidestep.data.frames import check_place, load_frames, save_frames
from sidestep.data.histories import Histories
from sidestep.data.importers.frames import read_frames, read_users
from sidestep.data.importers.table_rows import Columns, Gaps, Missing
from sidestep.data.interactions import (
    Duplicates,
    Interactions,
    Ties,
    chronological,
    deduplicated,
    k_core,
)
from sidestep.data.items import ItemTable
from sidestep.data.splits import Split
from sidestep.data.users import UserTable

_USERS = "users"
"""The file of users within the folder, without its ending."""

SPLIT_FOLDER = "split"
"""The folder of the split within the folder of a dataset that has a split of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetStats:
    """The size of a dataset.

    items: number of items of the table, with those that nobody has interacted with.
    density: interactions divided by users times items.
    mean_length: mean number of interactions per user.
    """

    users: int
    items: int
    interactions: int
    density: float
    mean_length: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """Interactions whose items are all in the item table.

    name: name of the dataset in results files and titles.
    sources: the SHA-256 of every file that the dataset was made from, by file name.
    event_weights: weight of each type of event, as a target and as an input.
    split: the dataset's own split, made with its event weights; None for leave-one-out. Every
        position that training may predict is in the split, however few interactions precede the
        position, see `TrainingPart.after`.
    users: table that describes the users; None if there is no such table.

    Raises:
        ValueError: on construction, if an item of an interaction or of the split is not in the
            table.
    """

    interactions: Interactions
    items: ItemTable
    name: str
    sources: Mapping[str, str] = field(default_factory=dict)
    event_weights: EventWeights = EventWeights()  # noqa: RUF009 - frozen
    split: Split | None = None
    users: UserTable | None = None

    def __post_init__(self) -> None:
        """Refuses interactions and splits with items that are not in the table."""
        used = self.interactions.frame["item_id"]
        is_unknown = ~used.is_in(self.items.frame["item_id"].to_list())
        if is_unknown.any():
            unknown = used.filter(is_unknown).unique(maintain_order=True)
            raise ValueError(
                f"{len(unknown)} items of the interactions are not in the item table, "
                f"{unknown[0]!r} in row {is_unknown.arg_max()} for example; "
                "add them to the table or drop their interactions."
            )
        if self.split is not None and self.split.max_item >= len(self.items):
            raise ValueError(
                f"the split names item {self.split.max_item}, but there are {len(self.items)} "
                "items: it belongs to another dataset."
            )

    @staticmethod
    def from_frames(
        interactions: Any,
        items: Any = None,
        users: Any = None,
        *,
        user: str = "user_id",
        item: str = "item_id",
        time: str | None = None,
        event: str | None = None,
        value: str | None = None,
        items_item: str | None = None,
        text_columns: Sequence[str] | None = None,
        missing_users: Missing = "refuse",
        missing_items: Missing = "refuse",
        missing_times: Literal["refuse", "drop"] = "refuse",
        missing_words: Sequence[str] = (),
        event_weights: EventWeights = EventWeights(),  # noqa: B008 - frozen
        name: str = "dataset",
    ) -> "Dataset":
        """Makes a dataset of frames in memory: polars, pandas or Arrow.

        The rows are read as `sidestep import table` reads the rows of a file. A note tells of rows
        that are left out, a warning of odd values, see `sidestep.notices`.

        Args:
            interactions: one row per interaction. With times, the rows may be in any order.
            items: one row per item; None takes the items of the interactions, without texts.
            users: one row per user, with columns that describe the users; its column of user IDs
                has the name that `user` gives. None if the users are not described.
            user: the column of user IDs, text or whole numbers.
            item: the column of item IDs.
            time: the column of times: numbers of any unit, or dates. None takes the column
                `timestamp` if there is one. Without a column of times, the order of the rows is the
                order of events.
            event: the column that says what happened, such as "purchase".
            value: the column of a number, such as a rating.
            items_item: the column of item IDs in `items`; None takes the name that `item` gives.
            text_columns: the columns of `items` to keep; None keeps all.
            missing_users: what to do if rows have no user: refuse the frame, drop the rows, or keep
                each of them as a user of its own.
            missing_items: what to do if rows have no item: refuse the frame, drop the rows, or keep
                all of them as one item called "missing".
            missing_times: what to do if rows have no time: refuse the frame, or drop the rows.
            missing_words: texts that mean a missing user or item, such as ["NA"].
            event_weights: weight of each type of event.
            name: name of the dataset in results files and titles.

        Raises:
            TypeError: an argument is no frame.
            ValueError: there is no row; a column is missing, or holds values of several types; a
                cell is invalid. The message names the row of the cell.
        """
        rows = read_frames(
            interactions,
            items,
            Columns(user=user, item=item, time=time, event=event, value=value),
            items_item=items_item or item,
            text_columns=text_columns,
            gaps=Gaps(
                users=missing_users, items=missing_items, times=missing_times, words=missing_words
            ),
        )
        return Dataset(
            interactions=chronological(rows.interactions, "file"),
            items=rows.items,
            name=name,
            event_weights=event_weights,
            users=None if users is None else read_users(users, user, rows.interactions),
        )

    def stats(self) -> DatasetStats:
        """The size of the dataset."""
        num_users = self.interactions.frame["user_id"].n_unique()
        num_cells = num_users * len(self.items)
        return DatasetStats(
            users=num_users,
            items=len(self.items),
            interactions=len(self.interactions),
            density=len(self.interactions) / num_cells if num_cells else 0.0,
            mean_length=len(self.interactions) / num_users if num_users else 0.0,
        )

    def histories(self, ties: Ties = "file") -> Histories:
        """Histories of all users, oldest item first; users in the order of first appearance.

        The histories hold all types of events, each interaction with its weights.

        Args:
            ties: order of interactions with equal timestamps.
        """
        frame = chronological(self.interactions, ties).frame
        users = frame["user_id"].rle()  # chronological: each user is one run
        lengths = users.struct.field("len").to_numpy()
        is_timed = frame["timestamp"].null_count() == 0
        has_events = frame["event"].null_count() < frame.height
        catalog = pl.Enum(self.items.frame["item_id"])
        target_weights = self.event_weights.of_targets(frame["event"])
        input_weights = self.event_weights.of_inputs(frame["event"])
        return Histories(
            items=frame["item_id"].cast(catalog).to_physical().to_numpy().astype(np.int32),
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            user_ids=tuple(users.struct.field("value")),
            timestamps=frame["timestamp"].to_numpy() if is_timed else None,
            events=frame["event"].fill_null("").to_numpy().astype(np.str_) if has_events else None,
            target_weights=None if target_weights is None else target_weights.to_numpy(),
            input_weights=None if input_weights is None else input_weights.to_numpy(),
        )

    def deduplicated(self, policy: Duplicates, *, by_type: bool = False) -> "Dataset":
        """Makes a copy without a split, with at most one interaction per user and item.

        The policy "keep" keeps all interactions. With `by_type`, one interaction of each type of
        event stays.
        """
        if policy == "keep":
            return self
        kept = deduplicated(self.interactions, policy, by_type=by_type)
        return replace(self, interactions=kept, split=None)

    def k_core(self, k: int) -> "Dataset":
        """Makes a copy in which every user and item has at least `k` interactions.

        Other items are removed from the table too, also items that never had an interaction. The
        copy has no split.

        Raises:
            ValueError: if no interaction is left.
        """
        interactions = k_core(self.interactions, k)
        if not len(interactions):
            raise ValueError(f"{self.name} has no {k}-core; choose a smaller k.")
        kept = interactions.frame["item_id"].unique()
        return replace(
            self, interactions=interactions, items=self.items.restricted_to(kept), split=None
        )

    def sampled(self, num_users: int, *, seed: int = 0) -> "Dataset":
        """Makes a copy with the interactions of users who are drawn at random.

        All items stay, so catalogs and vectors of texts fit the copy. The copy has no split. The
        users stay in their order, and the same seed draws the same users.

        Args:
            num_users: number of users to draw.
            seed: of the draw.

        Raises:
            ValueError: if there are fewer users.
        """
        users = self.interactions.frame["user_id"].unique(maintain_order=True)
        if not 1 <= num_users <= len(users):
            raise ValueError(
                f"{self.name} has {len(users):,} users; choose a number from 1 to {len(users):,}, "
                f"got {num_users:,}."
            )
        drawn = np.random.default_rng(seed).choice(len(users), size=num_users, replace=False)
        is_drawn = pl.col("user_id").is_in(users[np.sort(drawn)].to_list())
        described = None if self.users is None else UserTable(self.users.frame.filter(is_drawn))
        return replace(
            self,
            interactions=Interactions(self.interactions.frame.filter(is_drawn)),
            split=None,
            users=described,
        )

    def save(self, path: Path | str) -> None:
        """Writes interactions.parquet, items.parquet and dataset.json.

        If the dataset has a table of users or a split, they are written too. The folder is written
        whole or not at all. An older dataset in the folder is replaced, with its split.
        """
        path = Path(path)
        frames = {"interactions": self.interactions.frame, "items": self.items.frame}
        if self.users is not None:
            frames[_USERS] = self.users.frame
        description = {
            "name": self.name,
            "stats": asdict(self.stats()),
            "sources": dict(self.sources),
        }
        if weights := self.event_weights.description():
            description["event_weights"] = weights
        split = self.split
        save_split = None if split is None else lambda folder, hashes: split.save(folder, of=hashes)
        save_frames(path, "dataset", frames, description, {SPLIT_FOLDER: save_split})

    @staticmethod
    def check_place(path: Path) -> None:
        """Raises a `ValueError` if `save` would refuse the path: it holds something else."""
        check_place(path, "dataset", ("interactions", "items", _USERS), (SPLIT_FOLDER,))

    @classmethod
    def load(cls, path: Path) -> "Dataset":
        """Reads what `save` wrote.

        Raises:
            ValueError: if a file is damaged, or belongs to another dataset.
        """
        frames, description = load_frames(
            path, "dataset", ("interactions", "items"), ("name", "sources"), may_lack=(_USERS,)
        )
        folder = path / SPLIT_FOLDER
        return cls(
            interactions=Interactions(frames["interactions"]),
            items=ItemTable(frames["items"]),
            name=description["name"],
            sources=description["sources"],
            event_weights=EventWeights.from_description(description.get("event_weights", {})),
            split=Split.load(folder, of=description["sha256"]) if folder.exists() else None,
            users=UserTable(frames[_USERS]) if _USERS in frames else None,
        )
