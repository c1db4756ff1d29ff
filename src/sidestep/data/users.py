"""Users: columns that describe them, such as a country or an age."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from sidestep.data.items import check_texts


@dataclass(frozen=True, eq=False)
class UserTable:
    """The table that describes the users.

    Users of the dataset may be missing here, and users without interactions may be here.

    frame: `user_id`, unique and never null or empty, and any number of text columns. A null in a
        text column means that the source has no text.

    Raises:
        ValueError: on construction, if `frame` is anything else.
    """

    frame: pl.DataFrame

    def __post_init__(self) -> None:
        """Refuses columns of other types than text, and IDs that are missing or not unique."""
        check_texts(self.frame, "user")

    def __len__(self) -> int:
        return self.frame.height

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that describe the users."""
        return tuple(name for name in self.frame.columns if name != "user_id")

    def of(self, user_ids: Sequence[str]) -> pl.DataFrame:
        """The rows of some users, in their order; null if a user is not in the table."""
        asked = pl.DataFrame({"user_id": pl.Series(user_ids, dtype=pl.String)})
        return asked.join(self.frame, on="user_id", how="left", maintain_order="left")
