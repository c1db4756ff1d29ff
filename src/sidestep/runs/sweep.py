"""Sweeps: evaluations of one run that differ in their search alone."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from sidestep.bundle.loaded import LoadedRecommender
from sidestep.data.dataset import Dataset
from sidestep.evaluation import results
from sidestep.evaluation.results import QualityLine, read_per_user
from sidestep.evaluation.scaling import ScalingPoint, scaling_point
from sidestep.runs.budgets import BudgetedSearch
from sidestep.runs.evaluations import (
    Asked,
    Planned,
    evaluate_run,
    plan_evaluation,
    row_progress,
)
from sidestep.runs.folder import RunFolder
from sidestep.runs.kept_evaluations import (
    check_results_line,
    kept_beside,
    kept_evaluation,
    quality_fields,
    save_evaluation,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sweep:
    """A run, the settings of its evaluations, and the files of those that were made.

    asked: the settings of every evaluation, but for the search.
    catalog_name: the name of the semantic IDs in results files; None takes the catalog's version.
    files: the per-user files of the evaluations so far.
    """

    folder: RunFolder
    loaded: LoadedRecommender
    data: Dataset
    asked: Asked
    catalog_name: str | None
    files: list[Path] = field(default_factory=list)

    @property
    def num_rows(self) -> int:
        """Rows that every search is measured on."""
        return len(self._planned(self.asked).rows)

    def tell_of_misses(self) -> None:
        """See `Planned.tell_of_misses`, once for all searches."""
        self._planned(self.asked).tell_of_misses()

    def kept(self, search: BudgetedSearch) -> Path | None:
        """The per-user file of a search that was measured before."""
        planned = self._planned(replace(self.asked, search=search.asked))
        return kept_evaluation(self.folder, planned, batch_size=self.asked.batch_size)

    def point(self, search: BudgetedSearch) -> ScalingPoint:
        """A search measured, now or before."""
        file = self.kept(search)
        name = search.asked.method(self.loaded)
        if file is None:
            asked = replace(self.asked, search=search.asked)
            with row_progress(f"{name}, {search.words}") as progress:
                evaluation, per_user = evaluate_run(
                    self.loaded,
                    self.data,
                    asked,
                    catalog_name=self.catalog_name,
                    progress=progress,
                )
            file = save_evaluation(self.folder, evaluation, per_user, batch_size=asked.batch_size)
        self.files.append(file)
        costs = kept_beside(file)
        return scaling_point(
            read_per_user(file),
            search=name,
            budget=search.words,
            metrics=costs["metrics"],
            tokens=costs["tokens_per_user"],
            scored=costs["scored_per_user"],
            flops=costs["flops_per_user"],
            ms=costs["ms_per_user"],
        )

    def check_results(self, path: Path, search: BudgetedSearch) -> None:
        """Raises a `ValueError` for what a quality file would refuse once a search is measured."""
        planned = self._planned(replace(self.asked, search=search.asked))
        check_results_line(path, planned, self.loaded, self.data.name, selected=False)

    def append_to(self, path: Path) -> None:
        """Appends a line per evaluation to a quality file, except the lines that are in it."""
        there = {_place(line) for line in results.read(path)} if path.is_file() else set()
        for file in dict.fromkeys(self.files):
            line = QualityLine.model_validate(quality_fields(file))
            if _place(line) not in there:
                results.append(path, line)

    def _planned(self, asked: Asked) -> Planned:
        return plan_evaluation(self.loaded, self.data, asked, catalog_name=self.catalog_name)


def _place(line: QualityLine) -> tuple[object, ...]:
    """The fields that no two lines of one run may share."""
    return line.dataset, line.method, line.split, line.seed, line.setting
