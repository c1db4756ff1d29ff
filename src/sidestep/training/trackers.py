"""Trackers: the numbers of the training log, told to TensorBoard, MLflow or Weights & Biases too.

The log itself, `log.jsonl`, is always written; trackers only repeat it. They are Accelerate's. What
they write lies in the run's folder, unless the user's own settings of MLflow name a server or those
of Weights & Biases let it send.
"""

import importlib
import importlib.util
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate.tracking import MLflowTracker, TensorBoardTracker, WandBTracker

from sidestep.files import read_json, write_json
from sidestep.training.config import TrackerName

PROJECT = "sidestep"
"""The name of the experiment in MLflow, and of the project in Weights & Biases."""

_NO_NUMBERS = {"epoch", "step"}
"""Numbers of a line that say where it stands."""


def refuse_missing_trackers(names: Sequence[TrackerName]) -> None:
    """Raises an `ImportError` that names the extra, if a tracker's package is not installed."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"training.trackers names {', '.join(missing)}, which needs the extra `track`: "
            "pip install 'sidestep[track]', or leave it out; log.jsonl is written anyway."
        )


def mlflow_store(folder: Path) -> str:
    """Where MLflow keeps the run of a folder, unless the user's settings name a place."""
    return f"sqlite:///{(folder / 'mlflow' / 'runs.db').resolve()}"


class Trackers:
    """The trackers of one run; a resumed run continues with those it had."""

    def __init__(
        self, names: Sequence[TrackerName], folder: Path, *, step: int, about: Mapping[str, Any]
    ) -> None:
        """Starts or continues.

        Args:
            names: which trackers; every name once.
            folder: of the run; keeps what the trackers write, and how they call this run.
            step: optimizer steps done; what was told of later ones is undone where the tracker
                allows it (TensorBoard).
            about: the run's configuration, shown beside its numbers.
        """
        self._file = folder / "trackers.json"
        self._ids: dict[str, str] = read_json(self._file) if self._file.is_file() else {}
        self._undo: list[Callable[[], None]] = []
        self._trackers: list[Any] = []
        for name in dict.fromkeys(names):
            is_new = name not in self._ids
            tracker = self._started(name, folder, step)
            self._trackers.append(tracker)
            # TensorBoard would show it as a run of its own.
            if is_new and name != "tensorboard":
                tracker.store_init_configuration(dict(_flat(about)))
        write_json(self._file, self._ids)

    def write(self, line: Mapping[str, Any]) -> None:
        """Repeats one line of the training log; its kind stands before the name of each number."""
        numbers = {
            f"{line['kind']}/{name}": float(value)
            for name, value in _flat(line)
            if isinstance(value, int | float) and name not in _NO_NUMBERS
        }
        for tracker in self._trackers:
            tracker.log(numbers, step=line["step"])

    def close(self) -> None:
        """Ends the trackers' runs."""
        for tracker in self._trackers:
            tracker.finish()
        for undo in self._undo:
            undo()

    def _started(self, name: TrackerName, folder: Path, step: int) -> Any:
        if name == "tensorboard":
            self._ids[name] = "tensorboard"
            # The step that is purged first is the one after the last that stands.
            tracker = TensorBoardTracker("tensorboard", folder, purge_step=step + 1)
            tracker.start()
        elif name == "wandb":
            known = self._ids.setdefault(name, uuid.uuid4().hex[:8])
            tracker = WandBTracker(
                PROJECT, id=known, name=folder.name, dir=str(folder), resume="allow"
            )
            tracker.start()
        else:
            mlflow: Any = importlib.import_module("mlflow")
            if not mlflow.is_tracking_uri_set():
                (folder / "mlflow").mkdir(exist_ok=True)
                mlflow.set_tracking_uri(mlflow_store(folder))
                # Another run of this process has another folder.
                self._undo.append(lambda: mlflow.set_tracking_uri(""))
            tracker = MLflowTracker(
                PROJECT,
                logging_dir=(folder / "mlflow" / "artifacts").resolve().as_uri(),
                run_id=self._ids.get(name),
                run_name=folder.name,
            )
            tracker.start()
            self._ids[name] = tracker.tracker.info.run_id
        return tracker


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Plain values by their names, those of inner mappings behind a slash."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}/")
        else:
            yield f"{above}{name}", value
