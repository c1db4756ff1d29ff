"""The folder of a study: the places of its files, and the study that it belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidestep.files import read_json, write_json
from sidestep.lazy_imports import imported_when_used
from sidestep.runs.config import with_paths
from sidestep.runs.folder import RunFolder
from sidestep.runs.kept_paths import kept
from sidestep.runs.locks import LOCK, held
from sidestep.runs.plain_yaml import write_yaml
from sidestep.runs.run_config import RunConfig

with imported_when_used():
    from sidestep.training import checkpoint as checkpoints

_TUNES = "another process is tuning here; wait for its end, or choose another folder for --out."


@dataclass(frozen=True, slots=True)
class StudyFolder:
    """The folder of a study; each trial is a run in a folder of its own."""

    path: Path

    @property
    def best(self) -> Path:
        """The configuration of the best trial, which `sidestep train --config` takes."""
        return self.path / "best.yaml"

    @property
    def results(self) -> Path:
        """The trials as JSON."""
        return self.path / "tune.json"

    @property
    def page(self) -> Path:
        """The page of the study."""
        return self.path / "tune.html"

    @property
    def journal(self) -> Path:
        """The trials as Optuna keeps them, also unfinished ones."""
        return self.path / "trials.journal"

    @property
    def _description(self) -> Path:
        return self.path / "study.json"

    @property
    def planned(self) -> RunFolder:
        """The folder of a trial that is planned and never made; nothing is written there."""
        return RunFolder(self.path / "trials" / "none")

    def trial(self, number: int) -> RunFolder:
        """The folder of a trial."""
        return RunFolder(self.path / "trials" / str(number))

    def refuse_other_contents(self, description: Mapping[str, Any]) -> None:
        """Raises a `ValueError` where something else than this study is in the folder.

        Args:
            description: all that makes the study this one, as JSON.
        """
        if self.path.is_file():
            raise ValueError(f"{self.path}: is a file; choose another folder for --out.")
        if not self._description.is_file():
            there = sorted(self.path.iterdir()) if self.path.is_dir() else []
            strangers = [entry.name for entry in there if entry.name != LOCK]
            if strangers:
                raise ValueError(
                    f"{self.path}: exists and is not a study's folder (it holds {strangers[0]}); "
                    "choose another folder for --out."
                )
            return
        kept_description = read_json(self._description)
        differences = checkpoints.differences_in_words(kept_description, description)
        if differences is not None:
            raise ValueError(
                f"{self.path}: belongs to another study: {differences}. "
                "Set this back to go on with that study, or choose another folder for --out."
            )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps others out while this process tunes here.

        Raises:
            ValueError: somebody else tunes here.
        """
        with held(self.path, refusal=_TUNES):
            yield

    def describe(self, description: Mapping[str, Any]) -> None:
        """Keeps what makes the study this one."""
        write_json(self._description, dict(description))

    def write_best(self, config: RunConfig) -> None:
        """Keeps the configuration of the best trial, its paths seen from this folder."""
        content = config.model_dump(mode="json")
        write_yaml(self.best, with_paths(content, lambda path: kept(path, self.path)))
