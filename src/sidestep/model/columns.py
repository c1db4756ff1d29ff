"""Columns of items and users as inputs: a vector per category, such as a brand or a country."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from sidestep.model.config import ColumnConfig
from sidestep.step import HistoryBatch

_HIDDEN_SHARE = 0.1
"""Share of users of whom training hides all, so that a network can be asked about strangers."""


class ColumnEmbedding(nn.Module):
    """Vectors of rows that are described by categories.

        vector(row) = sum over columns c of mean over the values v of the row in c of table[v]

    The values of all columns are numbered one after the other, in the order of the configuration.

    Source: side information that is added to the vector of an item is the plain form that S3-Rec
    (Zhou et al., CIKM 2020, arXiv:2008.07873) and NOVA-BERT (Liu et al., AAAI 2021,
    arXiv:2103.03578) are compared with. Our choice: the mean within a column, so that an item of
    many genres is read as loudly as an item of one.
    """

    def __init__(self, columns: Mapping[str, ColumnConfig], dim: int) -> None:
        """Makes the parameters; whoever owns it initialises them.

        Args:
            columns: by name, with their values.
            dim: of the vectors.

        Raises:
            ValueError: the values of a column are not known.
        """
        super().__init__()
        num_values = 0
        for name, column in columns.items():
            if column.values is None:
                raise ValueError(
                    f"the values of column {name!r} are not known; take them from the data first."
                )
            num_values += len(column.values)
        self.columns = dict(columns)
        self.table = nn.Embedding(num_values, dim)

    def forward(
        self, numbers: Int[Tensor, "*batch slots"], weights: Float[Tensor, "*batch slots"]
    ) -> Float[Tensor, "*batch dim"]:
        """The vectors of rows; zero for a row without a value.

        Args:
            numbers: of the values of each row; any negative number is padding.
            weights: of the values, 0 at padding.
        """
        table = self.table.weight
        vectors = functional.embedding_bag(
            numbers.clamp(min=0).flatten(0, -2),
            table,
            per_sample_weights=weights.flatten(0, -2).to(table.dtype),
            mode="sum",
        )
        return vectors.view(*numbers.shape[:-1], -1)


class ItemColumns(ColumnEmbedding):
    """Vectors of the items of a catalog, by the categories of the items.

    The categories of the items are no weights. They are read from the texts of a catalog, so that
    items that are appended later are read by the same vectors.
    """

    numbers: Tensor | None
    weights: Tensor | None

    def __init__(self, columns: Mapping[str, ColumnConfig], dim: int) -> None:
        """See `ColumnEmbedding`; `read` comes before the first use."""
        super().__init__(columns, dim)
        self.register_buffer("numbers", None, persistent=False)
        self.register_buffer("weights", None, persistent=False)

    def read(
        self, numbers: Int[Tensor, "items slots"], weights: Float[Tensor, "items slots"]
    ) -> None:
        """Sets the categories of all items of the catalog, see `forward`."""
        device = self.table.weight.device
        self.numbers, self.weights = numbers.to(device), weights.to(device)

    def of_items(self, items: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch dim"]:
        """The vectors of some items; any vector where there is `NO_ITEM`."""
        numbers, weights = self._known()
        rows = items.clamp(min=0)
        return self.forward(numbers[rows], weights[rows])

    def of_catalog(self) -> Float[Tensor, "items dim"]:
        """The vectors of all items."""
        return self.forward(*self._known())

    def _known(self) -> tuple[Tensor, Tensor]:
        assert self.numbers is not None, "the categories of the items are read before they are used"
        assert self.weights is not None
        return self.numbers, self.weights


class UserColumns(ColumnEmbedding):
    """Vectors of users by their categories, which are added to the start token of a history.

    Every position of a history sees the start token, so one causal pass reads the user at every
    position of a training sequence. A user of whom nothing is known adds nothing. Ours: training
    hides a tenth of the users.
    """

    def of_users(self, histories: HistoryBatch) -> Float[Tensor, "users dim"]:
        """The vectors of the users; while training, some are hidden at random."""
        known, users = histories.user_values, len(histories.items)
        if known is None:
            return self.table.weight.new_zeros(users, self.table.embedding_dim)
        weights = known.weights
        if self.training:
            drawn = torch.rand(users, 1, device=weights.device)
            weights = weights.masked_fill(drawn < _HIDDEN_SHARE, 0.0)
        return self.forward(known.numbers, weights)
