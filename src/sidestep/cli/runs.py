"""The folder of a run: what lies where in it, and what the run was asked for.

How a run is trained stands in `run_training`.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sidestep.cli.config import AnyRun
from sidestep.cli.lazy import when_used
from sidestep.cli.plain_yaml import write_yaml
from sidestep.files import read_json, write_json

with when_used():
    from sidestep.training import placement

_LOCK = ".lock"
"""Held while somebody trains; the file itself stays, and means nothing."""

_REMEDY = "restore the file, or repeat the 'sidestep train' of this run, which writes it anew."


class RunInfo(BaseModel):
    """Beside the configuration, what makes a run; `run.json` in its folder.

    dataset, catalog: the folders, as they were given; None where there was no catalog.
    ranker: the run that was attached to it, which leaves nothing to train; None for others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    catalog: str | None
    seed: int = Field(ge=0)
    ranker: str | None = Field(default=None, exclude_if=lambda value: value is None)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Names within a run's folder; the training loop adds `log.jsonl` and checkpoints."""

    path: Path

    @property
    def _info(self) -> Path:
        """What makes the run beside the configuration, a `RunInfo`."""
        return self.path / "run.json"

    @property
    def config(self) -> Path:
        """The configuration, which can be trained from again."""
        return self.path / "config.yaml"

    @property
    def bundle(self) -> Path:
        """The trained recommender."""
        return self.path / "bundle"

    @property
    def log(self) -> Path:
        """The training log."""
        return self.path / "log.jsonl"

    @property
    def alignment_page(self) -> Path:
        """What a run of kind align shows of itself."""
        return self.path / "alignment.html"

    def evaluation(self, name: str) -> Path:
        """The folder of one evaluation."""
        return self.path / "evaluations" / name

    def is_run(self) -> bool:
        """Whether a run was begun here."""
        return self._info.is_file()

    def refuse_other_contents(self) -> None:
        """Raises a `ValueError` where training would write into a folder of something else."""
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise ValueError(f"{self.path}: is a file; choose another folder for --out.")
        strangers = [entry.name for entry in self.path.iterdir() if entry.name != _LOCK]
        if strangers and not self.is_run():
            raise ValueError(
                f"{self.path}: exists and is not a run's folder (it holds {min(strangers)}); "
                "choose another folder for --out."
            )
        if self.is_run() and self.info().ranker is not None:
            raise ValueError(
                f"{self.path}: holds a run with a ranker attached, which training would replace; "
                "choose another folder for --out."
            )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps others out while this process, or this launch of several, writes here.

        Raises:
            ValueError: somebody else trains here.
        """
        if not placement.is_main_process():
            yield
            return
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / _LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise ValueError(
                f"{self.path}: another process is training here; wait for its end, or choose "
                "another folder for --out."
            ) from error
        try:
            yield
        finally:
            lock.release()

    def write(self, config: AnyRun, info: RunInfo) -> None:
        """Keeps what the run was asked for."""
        # First what says that this folder is a run's: a start that is killed can be repeated.
        write_json(self._info, info.model_dump(mode="json"))
        write_yaml(self.config, config.model_dump(mode="json"))

    def copy_description(self, run: "RunFolder", *, ranker: str) -> None:
        """Keeps what another run was asked for, which had a ranker attached since."""
        info = run.info().model_copy(update={"ranker": ranker})
        if not run.config.is_file():
            raise FileNotFoundError(f"{run.config}: missing from the run; {_REMEDY}")
        write_json(self._info, info.model_dump(mode="json"))
        shutil.copy(run.config, self.config)

    def info(self) -> RunInfo:
        """What `write` kept.

        Raises:
            FileNotFoundError: this is no run's folder.
            ValueError: it is damaged; says what to do.
        """
        file = self._info
        if not self.is_run():
            raise FileNotFoundError(
                f"{self.path}: no run here, run.json is missing; make one with 'sidestep train'."
            )
        try:
            return RunInfo.model_validate(read_json(file))
        except ValidationError as error:
            raise ValueError(f"{file}: not the description of a run; {_REMEDY}") from error
        except ValueError as error:
            raise ValueError(f"{str(error).removesuffix('.')}; {_REMEDY}") from error
