"""Users: columns that describe them, such as a country or an age."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from sidestep.data.items import check_texts


@dataclass(frozen=True, eq=False)
class UserTable:
    """What is known of users beside their interactions.

    Users of the dataset may be missing here, and users without interactions may be here.

    frame: `user_id`, unique and never null or empty, and any number of text columns, whose null
        means that the source says nothing.

    Raises:
        ValueError: on construction, if `frame` is anything else.
    """

    frame: pl.DataFrame

    def __post_init__(self) -> None:
        """Refuses a frame with other than text, or with users that cannot be told apart."""
        check_texts(self.frame, "user")

    def __len__(self) -> int:
        return self.frame.height

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that describe the users."""
        return tuple(name for name in self.frame.columns if name != "user_id")

    def of(self, user_ids: Sequence[str]) -> pl.DataFrame:
        """The rows of some users in their order; null where nothing is known of a user."""
        asked = pl.DataFrame({"user_id": pl.Series(user_ids, dtype=pl.String)})
        return asked.join(self.frame, on="user_id", how="left", maintain_order="left")
