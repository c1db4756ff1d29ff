"""Columns of items and users as networks read them: from texts to numbers of categories."""

from collections.abc import Mapping, Sequence

import polars as pl
import torch
from jaxtyping import Int
from torch import Tensor, nn

from sidestep.catalog.catalog import Catalog
from sidestep.data.categories import Vocabulary, first_categories, frequent_first_values
from sidestep.data.splits import Split
from sidestep.data.users import UserTable
from sidestep.model.columns import ItemColumns
from sidestep.model.config import CategoryHeadConfig, ColumnConfig
from sidestep.model.semantic_id_model import SemanticIdModel


def vocabulary_of(columns: Mapping[str, ColumnConfig]) -> Vocabulary:
    """The vocabulary of columns whose values are known."""
    return Vocabulary(
        separators={name: column.separator for name, column in columns.items()},
        values={name: column.values or () for name, column in columns.items()},
    )


def with_values(
    columns: Mapping[str, ColumnConfig], frame: pl.DataFrame, *, setting: str
) -> dict[str, ColumnConfig]:
    """The columns with their values: those of the frame, where no values are given.

    Args:
        columns: by name.
        frame: one row per item or user, with columns of text.
        setting: the name of the columns in configurations.

    Raises:
        ValueError: the frame lacks a column, or a column holds no value that is frequent enough.
    """
    known = {}
    for name, column in columns.items():
        values = column.values
        if name not in frame.columns:
            there = ", ".join(frame.columns) or "none"
            raise ValueError(f"{setting}: there is no column {name!r}; there are: {there}.")
        if values is None:
            separators = {name: column.separator}
            try:
                found = Vocabulary.of(frame, separators, min_count=column.min_count)
            except ValueError as error:
                raise ValueError(f"{setting}: {error}") from error
            values = found.values[name]
        known[name] = column.model_copy(update={"values": values})
    return known


def texts_of(catalog: Catalog) -> pl.DataFrame:
    """The texts of the items of a catalog; without a column where the catalog has no texts."""
    return pl.DataFrame() if catalog.texts is None else catalog.texts.collect()


def with_categories(head: CategoryHeadConfig, frame: pl.DataFrame) -> CategoryHeadConfig:
    """A category head with its categories: those of the frame, where no categories are given.

    Args:
        head: the column.
        frame: one row per item, with columns of text.

    Raises:
        ValueError: the frame lacks the column, or no category is frequent enough.
    """
    _refuse_missing(head.column, frame.columns)
    if head.values is not None:
        return head
    column = frame[head.column]
    values = frequent_first_values(column, head.separator, min_count=head.min_count)
    if not values:
        raise ValueError(
            f"model.category_head: column {head.column!r} holds no category that {head.min_count} "
            "items have; name another column, or set a smaller min_count."
        )
    return head.model_copy(update={"values": values})


def categories_of(head: CategoryHeadConfig, catalog: Catalog) -> Int[Tensor, " items"]:
    """The category of every item of a catalog, as a number of a category head; -1 without one.

    Args:
        head: with its categories.
        catalog: with the texts of its items.

    Raises:
        ValueError: the texts lack the column.
    """
    texts = texts_of(catalog)
    _refuse_missing(head.column, texts.columns)
    column = texts[head.column]
    return torch.from_numpy(first_categories(column, head.separator, head.values or ()))


def categories_for(network: SemanticIdModel, catalog: Catalog) -> Int[Tensor, " items"] | None:
    """The category of every item for the category head of a network; None for a network without.

    Raises:
        ValueError: the texts of the catalog lack the column of the head.
    """
    head = network.category_head
    return None if head is None else categories_of(head.config, catalog)


def _refuse_missing(column: str, there: Sequence[str]) -> None:
    """Raises a `ValueError` where a category head has no column to read."""
    if column not in there:
        raise ValueError(
            f"model.category_head: there is no column {column!r}; there are: "
            f"{', '.join(there) or 'none'}."
        )


class MissingColumnsError(ValueError):
    """The error of a catalog whose texts lack columns that a network reads."""


def read_item_columns(module: nn.Module | None, catalog: Catalog) -> None:
    """Lets a network read the categories of the items of a catalog, if it reads item columns.

    Raises:
        MissingColumnsError: the catalog lacks a column.
    """
    refuse_missing_columns(module, catalog)
    columns = _item_columns(module)
    if columns is not None:
        found = vocabulary_of(columns.columns).read(texts_of(catalog))
        columns.read(torch.from_numpy(found.numbers), torch.from_numpy(found.weights))


def refuse_missing_columns(module: nn.Module | None, catalog: Catalog) -> None:
    """Raises a `MissingColumnsError` where a catalog lacks columns that a network reads."""
    columns = _item_columns(module)
    names = () if columns is None else tuple(columns.columns)
    there = () if catalog.texts is None else catalog.texts.collect_schema().names()
    missing = [name for name in names if name not in there]
    if missing:
        raise MissingColumnsError(
            f"the network reads the item columns {', '.join(names)}, and the texts of the catalog "
            f"lack {', '.join(missing)}; there are: {', '.join(there) or 'none'}. Take the catalog "
            "with the texts that the network was trained on."
        )


def with_user_columns(
    split: Split, columns: Mapping[str, ColumnConfig] | None, users: UserTable | None
) -> Split:
    """The split with the categories of its users, where a network reads columns of users.

    Args:
        split: of a dataset.
        columns: with their values; None where the network reads none.
        users: the table of the dataset; a user that it lacks has no value.

    Raises:
        ValueError: there is no table of users, or it lacks a column.
    """
    if columns is None:
        return split
    table, vocabulary = described_users(users, columns), vocabulary_of(columns)
    return split.with_users(lambda user_ids: vocabulary.read(table.of(user_ids)))


def described_users(users: UserTable | None, columns: Mapping[str, ColumnConfig]) -> UserTable:
    """The table of the users of a dataset, with no other columns than a network reads.

    Raises:
        ValueError: there is no table of users, or it lacks a column.
    """
    there = () if users is None else users.columns
    missing = [name for name in columns if name not in there]
    if users is None or missing:
        raise ValueError(
            f"the network reads the columns {', '.join(columns)} of users, and the dataset's table "
            f"of users lacks {', '.join(missing)}; there are: {', '.join(there) or 'none'}. Import "
            "the dataset with its users."
        )
    return UserTable(users.frame.select("user_id", *columns))


def _item_columns(module: nn.Module | None) -> ItemColumns | None:
    columns = getattr(module, "item_columns", None)
    return columns if isinstance(columns, ItemColumns) else None
