"""The file of a pipeline: sections that hold options of the commands of the same name."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sidestep.runs.judged_rows import num_users
from sidestep.runs.recipes import AlignRecipe

CONFIG_FILE = "sidestep.yaml"
"""The name of the file in a pipeline's folder."""


class Sampled(BaseModel):
    """The users who get recommendations at the end, and options of 'sidestep recommend'."""

    model_config = ConfigDict(frozen=True, extra="allow")

    users: int = Field(3, ge=0)
    """Users of the dataset, spread evenly; none with zero."""

    run: str | None = None
    """The name of the run that recommends, under `train`, `attach` or `align`. None takes the run
    with the best NDCG@10 where the runs are evaluated on validation, else the last run with a
    ranker beside it, else the first run that searches."""


class Attached(BaseModel):
    """A run with a ranker beside it, and options of 'sidestep attach'."""

    model_config = ConfigDict(frozen=True, extra="allow")

    run: str
    """The name of the run, under `train` or `align`."""

    ranker: str
    """The name of the ranker's run, under `train`."""

    @property
    def needs(self) -> dict[str, str]:
        """The runs that must be there before, by the key that names them."""
        return {"run": self.run, "ranker": self.ranker}


class Aligned(BaseModel):
    """A run that a recipe of 'sidestep align' has improved, and settings over the recipe."""

    model_config = ConfigDict(frozen=True, extra="allow")

    run: str
    """The name of the run that is improved, under `train`, `attach` or `align`."""

    recipe: AlignRecipe
    """The recipe, as in 'sidestep align --recipe'."""

    teachers: list[str] = Field(default_factory=list)
    """Names of other runs whose item heads teach, too, with the recipe `tree`."""

    @model_validator(mode="after")
    def _names_its_run_once(self) -> "Aligned":
        """Refuses settings by which a run would start from another one than `run` says."""
        for key in ("backbone", "kind"):
            if key in (self.model_extra or {}):
                raise ValueError(f"run and recipe decide {key}; leave {key} out")
        return self

    @property
    def needs(self) -> dict[str, str]:
        """See `Attached.needs`."""
        return {"run": self.run} | {f"teachers[{n}]": name for n, name in enumerate(self.teachers)}


class PipelineConfig(BaseModel):
    """Configuration of a pipeline; the sections hold options of the commands of the same name."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    out: Path = Path()
    """The folder to work in, as a path from the folder of the file."""

    seed: int = Field(0, ge=0, le=2**32 - 1)
    """The seed of every step that draws."""

    importing: dict[str, Any] = Field(alias="import")
    """`from` says which kind of files, as in 'sidestep import KIND'."""

    split: dict[str, Any] = Field(default_factory=dict)
    """Options of 'sidestep data split'; without any, the dataset keeps the split that it has."""

    embed: dict[str, Any] = Field(default_factory=dict)
    tokenize: dict[str, Any] = Field(default_factory=dict)

    train: dict[str, dict[str, Any]] = Field(min_length=1)
    """The runs by name, each as in configs/*.yaml."""

    attach: dict[str, Attached] = Field(default_factory=dict)
    """Runs with a ranker beside them, by the name of the new run."""

    align: dict[str, Aligned] = Field(default_factory=dict)
    """Improved runs, by the name of the new run. `attach` and `align` may name each other's runs:
    the pipeline makes each run after those that it needs."""

    evaluate: dict[str, Any] = Field(default_factory=dict)
    compare: dict[str, Any] = Field(default_factory=dict)
    recommend: Sampled = Sampled()

    @model_validator(mode="after")
    def _compares_what_it_evaluates(self) -> "PipelineConfig":
        """Refuses a comparison on other users than the evaluations, before all the work."""
        evaluated, compared = users_of(self.evaluate), users_of(self.compare)
        if evaluated != compared:
            raise ValueError(
                f"evaluate.users is {evaluated} and compare.users is {compared}, so there would be "
                "nothing to compare; write the same number under both, or leave both out"
            )
        return self

    @field_validator(
        "split",
        "embed",
        "tokenize",
        "attach",
        "align",
        "evaluate",
        "compare",
        "recommend",
        mode="before",
    )
    @classmethod
    def _nothing_is_empty(cls, section: Any) -> Any:
        """Takes a section of comments alone, which YAML reads as null, as an empty section."""
        return {} if section is None else section


def users_of(section: dict[str, Any]) -> int | Literal["all"]:
    """The rows that a section of evaluations or of the comparison asks for."""
    users = section.get("users")
    return num_users("all" if users is None else str(users)) or "all"
