"""Declarations of the kit: data sets, semantic IDs, trainings and tables, as files hold them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sidestep.runs.plain_yaml import read_yaml
from sidestep.runs.settings import checked

_FOLDER = Path(__file__).parent
_TABLES = _FOLDER / "tables"

Seen = Literal["kept", "left-out"]
"""The place of the items of a history: lists may hold them, or leave them out."""

SEEN_IN_WORDS: Mapping[Seen, str] = {"kept": "seen items kept", "left-out": "seen items left out"}

Numbers = tuple[float | None, ...]
"""One published number per metric of a table; None where the source has none."""


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Fingerprint(_Declared):
    """The contents of an imported dataset in a few numbers, so that other data are noticed.

    interactions_sha256: hash of users, items and times, in order.
    items_sha256: hash of the items and of their texts, in order.
    """

    users: int
    items: int
    interactions: int
    interactions_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    items_sha256: str = Field(pattern="^[0-9a-f]{64}$")


class DeclaredData(_Declared):
    """A data set: its import, its item vectors, and what runs are told about it."""

    importing: dict[str, Any] = Field(alias="import")
    """Options of `sidestep import`; `from` says which kind. Paths are seen from the data set's
    folder."""

    split: dict[str, Any] = Field(default_factory=dict)
    """Options of `sidestep data split`; empty for the split that the import makes."""

    embed: dict[str, Any]
    """Options of `sidestep embed`, which makes the item vectors."""

    values: dict[str, Any]
    """Values that runs name with a dollar sign, such as `$history`."""

    fingerprint: Fingerprint


class DeclaredRun(_Declared):
    """A training, whose settings are laid over those that it starts from."""

    extends: str | None = None
    """The run whose declaration it starts from."""

    catalog: str | None = None
    """The declared semantic IDs; a run with a backbone takes those of the backbone."""

    backbone: str | None = None
    """The run that it goes on from, or that it stands beside."""

    ranker: str | None = None
    """The run that stands beside the backbone, as `sidestep attach` puts it there. Nothing is
    trained, and `set` holds options of `attach`."""

    recipe: str | None = None
    """The recipe of `sidestep align` or `sidestep prefer` whose settings it starts from."""

    config: dict[str, Any] = Field(default_factory=dict)
    """The configuration, as a file of `sidestep train` has it."""

    settings: dict[str, Any] = Field(default_factory=dict, alias="set")
    """Values by `key.of.a.part`, laid over all of the above."""

    per_data: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """The same for single data sets, by their names."""

    @model_validator(mode="after")
    def _stands_beside_something(self) -> "DeclaredRun":
        if self.ranker is not None and (self.backbone is None or self.recipe or self.config):
            raise ValueError("a ranker needs a backbone, and trains nothing")
        return self


class Difference(_Declared):
    """A difference between the protocol of a source and ours, in words."""

    what: str
    published: str
    ours: str


class Row(_Declared):
    """A row of a table: a method, its published numbers, and the run that reproduces it."""

    method: str
    """The name of the method in the source."""

    run: str | None = None
    """The declared run; None where the kit has no such method."""

    search: dict[str, Any] = Field(default_factory=dict)
    """Options of `sidestep evaluate` that ask for a search."""

    data: tuple[str, ...] | None = None
    """The data sets that the row is run on; None takes all of the table."""

    differs: str = ""
    """Differences of this row from the source, in words."""

    published: dict[str, dict[Seen, Numbers]] = Field(default_factory=dict)
    """Published numbers by data set and by the place of seen items. A mere list means that seen
    items are kept."""

    named: str | None = None
    """The name of the method in results; None makes one of run and search."""

    @field_validator("published", mode="before")
    @classmethod
    def _kept_unless_said(cls, given: Any) -> Any:
        return {
            name: {"kept": numbers} if isinstance(numbers, list) else numbers
            for name, numbers in given.items()
        }

    @property
    def name(self) -> str:
        """The name of the method in results."""
        search = self.search.get("search")
        return self.named or (f"{self.run}-{search}" if search else str(self.run))


class Table(_Declared):
    """A table of a paper, or of our own docs."""

    title: str
    about: str
    """One line, for the list of tables."""

    source: str
    metrics: tuple[str, ...] = Field(min_length=1)
    data: dict[str, str] = Field(min_length=1)
    """The source's name of each data set, by our name."""

    same_data: bool = True
    """Whether the published numbers are of the same data. If not, only gains over `reference` can
    be compared."""

    reference: str | None = None
    """The row that gains are told over; None tells differences alone."""

    seen: tuple[Seen, ...] = ("kept",)
    seeds: int = Field(3, ge=1)
    protocol: tuple[Difference, ...] = ()
    rows: tuple[Row, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _is_consistent(self) -> "Table":
        methods = [row.method for row in self.rows]
        if len({*methods}) < len(methods):
            raise ValueError("two rows have the same method; give one of them another name")
        if self.reference is not None and self.reference not in methods:
            raise ValueError(f"reference {self.reference!r} is no row")
        if not self.same_data and self.reference is None:
            raise ValueError("numbers of other data can be compared by gains alone; set reference")
        for row in self.rows:
            strangers = {*row.published, *(row.data or ())} - self.data.keys()
            if strangers:
                raise ValueError(f"{row.method}: the table has no data {sorted(strangers)}")
            for of_data in row.published.values():
                for numbers in of_data.values():
                    if len(numbers) != len(self.metrics):
                        raise ValueError(
                            f"{row.method}: {len(numbers)} numbers for {len(self.metrics)} metrics"
                        )
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """Everything that tables refer to.

    data: data sets by name.
    catalogs: options of `sidestep tokenize`, by the name of the semantic IDs.
    runs: trainings by name.
    """

    data: Mapping[str, DeclaredData]
    catalogs: Mapping[str, Mapping[str, Any]]
    runs: Mapping[str, DeclaredRun]

    def run(self, name: str) -> DeclaredRun:
        """The declaration of a run, together with those that it extends."""
        run = self.runs[name]
        if run.extends is None:
            return run
        base = self.run(run.extends)
        return DeclaredRun(
            catalog=run.catalog or base.catalog,
            backbone=run.backbone or base.backbone,
            ranker=run.ranker or base.ranker,
            recipe=run.recipe or base.recipe,
            config={**base.config, **run.config},
            settings={**base.settings, **run.settings},
            per_data={
                data: {**base.per_data.get(data, {}), **run.per_data.get(data, {})}
                for data in {**base.per_data, **run.per_data}
            },
        )


@cache
def read_kit() -> Kit:
    """Reads the declarations that tables refer to."""
    data, runs = read_yaml(_FOLDER / "data.yaml"), read_yaml(_FOLDER / "runs.yaml")
    return Kit(
        data={name: checked(DeclaredData, content, name) for name, content in data.items()},
        catalogs=runs["catalogs"],
        runs={name: checked(DeclaredRun, content, name) for name, content in runs["runs"].items()},
    )


def table_names() -> list[str]:
    """The names of all tables, in the order of the alphabet."""
    return sorted(path.stem for path in _TABLES.glob("*.yaml"))


def read_table(name: str) -> Table:
    """Reads a table.

    Raises:
        ValueError: there is no such table; says which there are.
    """
    names = table_names()
    if name not in names:
        raise ValueError(f"there is no table {name!r:.60}; there are {', '.join(names)}.")
    return checked(Table, read_yaml(_TABLES / f"{name}.yaml"), f"table {name}")


assert {*SEEN_IN_WORDS} == {*get_args(Seen)}
