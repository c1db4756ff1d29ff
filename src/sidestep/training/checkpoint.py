"""Checkpoints: all a run needs to continue as if it had never stopped.

`CheckpointStore` is what the training loop knows of them. `WholeCheckpoints` keeps the weights of
each checkpoint whole, in numbered folders; `sharded_checkpoints.py` keeps shards of the weights.

A folder `checkpoint-000012` exists or does not: it is written under another name, flushed to the
disk and then renamed. A number is used once, so no checkpoint is ever replaced, and a process
killed at any moment leaves the newest or the one before. Nothing in it is unpickled.
"""

import os
import pickle
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sidestep.files import file_sha256, read_json, whole_folder, write_json
from sidestep.training.random_state import RandomState

NUM_KEPT = 2
"""Checkpoints kept: the newest, and the one before in case a disk lost the newest."""

_NUM_NAMED = 5
"""Differences between two runs that an error names; another network differs everywhere."""

_HASHES = "files.json"
"""SHA-256 of the other files."""

Weights = dict[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A run at one moment, with the same fields in all processes.

    run: what makes the run this one, as JSON; a run of another kind must not continue it.
    state: position, early stopping and counters, as JSON.
    weights: of the objective; whole, or the shards of this process.
    best_weights: those of the best validation; None before the first one.
    optimizer: the state dict of the optimizer.
    random_states: one per process.
    """

    run: dict[str, Any]
    state: dict[str, Any]
    weights: Weights
    best_weights: Weights | None
    optimizer: dict[str, Any]
    random_states: list[RandomState]


class CheckpointStore(ABC):
    """The checkpoints of one run; a resumed run continues from the newest."""

    @abstractmethod
    def is_empty(self) -> bool:
        """Whether there is no whole checkpoint."""
        ...

    @abstractmethod
    def save(self, checkpoint: Checkpoint) -> None:
        """Keeps a checkpoint, all of it or, if the process is killed, nothing of it.

        Every process calls this.
        """
        ...

    @abstractmethod
    def newest(self, run: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Checkpoint:
        """The newest checkpoint, its tensors on the CPU or, of shards, on the device.

        Every process calls this.

        Args:
            run: what makes the run that resumes this one.
            weights: of the objective that resumes, of which names and shapes count.

        Raises:
            FileNotFoundError: this process sees no checkpoint, although another process does.
            ValueError: the checkpoint is damaged, or belongs to another run or version.
        """
        ...

    @abstractmethod
    def damaged(self, reason: str) -> ValueError:
        """The error that the newest checkpoint cannot be used, and what to do about it."""
        ...

    @abstractmethod
    def of_another_version(self, reason: str) -> ValueError:
        """The error that the newest checkpoint does not fit this program, and what to do."""
        ...


@dataclass(frozen=True, slots=True)
class WholeCheckpoints(CheckpointStore):
    """Checkpoints with whole weights, in numbered folders.

    folder: of the run.
    is_writer: whether this process writes; one process of a launch does.
    """

    folder: Path
    is_writer: bool = True

    def is_empty(self) -> bool:
        """See `CheckpointStore.is_empty`."""
        return not checkpoints(self.folder)

    def save(self, checkpoint: Checkpoint) -> None:
        """See `CheckpointStore.save`."""
        if self.is_writer:
            save_checkpoint(self.folder, checkpoint)

    def newest(self, run: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Checkpoint:
        """See `CheckpointStore.newest`."""
        path = newest_checkpoint(self.folder)
        saved = load_checkpoint(path)
        refuse_other_run(path, saved.run, run)
        for theirs in filter(None, (saved.weights, saved.best_weights)):
            refuse_other_weights(path, theirs, weights)
        return saved

    def damaged(self, reason: str) -> ValueError:
        """See `CheckpointStore.damaged`."""
        return damaged(newest_checkpoint(self.folder), reason)

    def of_another_version(self, reason: str) -> ValueError:
        """See `CheckpointStore.of_another_version`."""
        return of_another_version(newest_checkpoint(self.folder), reason)


def refuse_checkpoints(folder: Path) -> None:
    """Raises a `ValueError` where a run that does not resume another would write over it."""
    if checkpoints(folder):
        raise ValueError(
            f"{folder} holds checkpoints of an earlier run: resume it, train into another folder, "
            f"or delete {folder} to start anew."
        )


def weights_on_cpu(module: nn.Module) -> Weights:
    """A copy of the weights on the CPU; tied tensors are stored twice, which safetensors wants."""
    return {
        name: weights.detach().to("cpu", copy=True).contiguous()
        for name, weights in module.state_dict().items()
    }


def checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints of a run's folder, oldest first."""
    if not folder.is_dir():
        return []
    numbered = [path for path in folder.iterdir() if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted(numbered, key=_number)


def newest_checkpoint(folder: Path) -> Path:
    """The newest whole checkpoint of a run's folder.

    Raises:
        FileNotFoundError: there is none.
    """
    found = checkpoints(folder)
    if not found:
        raise FileNotFoundError(
            f"{folder}: the first process of the launch finds checkpoints here, and this one finds "
            "none; train into a folder that all machines share."
        )
    return found[-1]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Writes a checkpoint with the next number, then deletes all but the last `NUM_KEPT`."""
    with next_checkpoint(folder) as temporary:
        write_rest(temporary, checkpoint)
        save_file(checkpoint.weights, temporary / "weights.safetensors")
        if checkpoint.best_weights is not None:
            save_file(checkpoint.best_weights, temporary / "best.safetensors")
    return checkpoints(folder)[-1]


@contextmanager
def next_checkpoint(folder: Path) -> Iterator[Path]:
    """Yields an empty folder, which becomes the next checkpoint if the block succeeds.

    Then deletes all but the last `NUM_KEPT` checkpoints.
    """
    existing = checkpoints(folder)
    number = _number(existing[-1]) + 1 if existing else 0
    with whole_folder(folder / f"checkpoint-{number:06d}") as temporary:
        yield temporary
        files = sorted(temporary.iterdir())
        write_json(temporary / _HASHES, {file.name: file_sha256(file) for file in files})
        for file in temporary.iterdir():
            with file.open("rb") as written:
                os.fsync(written.fileno())
    for old in existing[: len(existing) + 1 - NUM_KEPT]:
        shutil.rmtree(old)
    # What a killed process was writing.
    for abandoned in folder.glob(".checkpoint-*"):
        shutil.rmtree(abandoned, ignore_errors=True)


def write_rest(folder: Path, checkpoint: Checkpoint) -> None:
    """Writes all of a checkpoint but its weights."""
    write_json(folder / "run.json", checkpoint.run)
    write_json(folder / "state.json", checkpoint.state)
    torch.save(checkpoint.optimizer, folder / "optimizer.pt")
    torch.save(checkpoint.random_states, folder / "random_states.pt")


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads one checkpoint, its tensors on the CPU.

    Raises:
        ValueError: if a file is missing or damaged.
    """
    best = path / "best.safetensors"
    with told_damage(path):
        rest = read_rest(path)
        is_best_expected = rest.state.get("best_score") is not None
        return replace(
            rest,
            weights=load_file(path / "weights.safetensors"),
            best_weights=load_file(best) if best.exists() or is_best_expected else None,
        )


def read_rest(path: Path) -> Checkpoint:
    """Reads all of a checkpoint but its weights; call it within `told_damage`."""
    _check_hashes(path)
    run, state = read_json(path / "run.json"), read_json(path / "state.json")
    if not isinstance(run, dict) or not isinstance(state, dict):
        raise ValueError("run.json or state.json is no JSON object")
    optimizer, random_states = (
        torch.load(path / name, map_location="cpu", weights_only=True)
        for name in ("optimizer.pt", "random_states.pt")
    )
    return Checkpoint(
        run=run,
        state=state,
        weights={},
        best_weights=None,
        optimizer=optimizer,
        random_states=random_states,
    )


@contextmanager
def told_damage(path: Path) -> Iterator[None]:
    """A block that reads a checkpoint; what goes wrong becomes the `ValueError` of `damaged`."""
    try:
        yield
    # torch.load raises RuntimeError or EOFError on a cut file, UnpicklingError on a strange one,
    # and read_json ValueError.
    except (
        *(OSError, RuntimeError, EOFError, ValueError),
        *(SafetensorError, pickle.PickleError),
    ) as error:
        raise damaged(
            path, str(error).strip().partition("\n")[0] or type(error).__name__
        ) from error


def _check_hashes(path: Path) -> None:
    """Raises a `ValueError` where a file is not the one that was written.

    Checkpoints of older versions have no hashes.
    """
    hashes = read_json(path / _HASHES) if (path / _HASHES).is_file() else None
    if not isinstance(hashes, dict):
        return
    for file in sorted(path.iterdir()):
        if file.name != _HASHES and file_sha256(file) != hashes.get(file.name):
            raise ValueError(f"{file.name} is not the file that was written")


def damaged(path: Path, reason: str) -> ValueError:
    """The error that a checkpoint cannot be used, and what to do about it."""
    return ValueError(
        f"the checkpoint {path} is damaged ({reason}); delete it, the whole folder, and the same "
        "command continues from the checkpoint before."
    )


def refuse_other_weights(path: Path, saved: Weights, current: Mapping[str, Tensor]) -> None:
    """Raises a `ValueError` that names weights which only one side has, or in other shapes."""
    differences = [
        f"{name} is {_shape(saved, name)} in it and {_shape(current, name)} here"
        for name in sorted(saved.keys() | current.keys())
        if _shape(saved, name) != _shape(current, name)
    ]
    if differences:
        raise of_another_version(path, "; ".join(differences[:_NUM_NAMED]))


def of_another_version(path: Path, reason: str) -> ValueError:
    """The error that a whole checkpoint does not fit this program, and what to do about it."""
    return ValueError(
        f"the checkpoint {path} was written by another version of Sidestep ({reason}); resume with "
        f"that version, train into another folder, or delete {path.parent} to start anew."
    )


def refuse_other_run(path: Path, saved: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Raises a `ValueError` that names the differences between two runs, if there are any."""
    differences = differences_in_words(saved, current)
    if differences is not None:
        raise ValueError(
            f"{path} belongs to another run: {differences}. Set this back to resume it, train "
            f"into another folder, or delete {path.parent} to start anew."
        )


def differences_in_words(saved: Mapping[str, Any], current: Mapping[str, Any]) -> str | None:
    """The first few differences between two nests of plain values; None if there are none."""
    differences = _differences(saved, current)
    if not differences:
        return None
    more = len(differences) - _NUM_NAMED
    return "; ".join(differences[:_NUM_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _differences(saved: Any, current: Any, name: str = "") -> list[str]:
    if isinstance(saved, Mapping) and isinstance(current, Mapping):
        keys = sorted(saved.keys() | current.keys())
        return [
            difference
            for key in keys
            for difference in _differences(
                saved.get(key), current.get(key), f"{name}.{key}" if name else key
            )
        ]
    return [] if saved == current else [f"{name} was {saved!r} and is {current!r}"]


def _shape(weights: Mapping[str, Tensor], name: str) -> str:
    return f"of shape {list(weights[name].shape)}" if name in weights else "missing"


def _number(path: Path) -> int:
    return int(path.name.removeprefix("checkpoint-"))
