"""Checkpoints of sharded weights: each process writes and reads its shards.

Torch's distributed checkpoints (DCP) keep weights and moments of the optimizer as safetensors, with
the place of each shard. So a run may go on with another number of processes, and nothing is
unpickled. The folders and the other files are those of `checkpoint.py`.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from sidestep.training.checkpoint import (
    Checkpoint,
    CheckpointStore,
    Weights,
    WholeCheckpoints,
    newest_checkpoint,
    next_checkpoint,
    read_rest,
    refuse_other_run,
    refuse_other_weights,
    told_damage,
    write_rest,
)
from sidestep.training.processes import Processes

_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True, slots=True)
class ShardedCheckpoints(CheckpointStore):
    """Checkpoints with sharded weights; each process needs the same disk.

    whole: the store of whole weights in the same folder, whose names and errors these share.
    processes: of the training.
    parameters: the weights that learn, in the order of the optimizer.
    """

    whole: WholeCheckpoints
    processes: Processes
    parameters: Sequence[Tensor]

    def is_empty(self) -> bool:
        """See `CheckpointStore.is_empty`."""
        return self.whole.is_empty()

    def save(self, checkpoint: Checkpoint) -> None:
        """See `CheckpointStore.save`."""
        tensors = {f"weights.{name}": one for name, one in checkpoint.weights.items()}
        for name, one in (checkpoint.best_weights or {}).items():
            tensors[f"best.{name}"] = one
        state: dict[int, dict[str, Any]] = checkpoint.optimizer["state"]
        for number, kept in state.items():
            tensors |= {_moment(number, name): kept[name] for name in _MOMENTS}
        rest = {
            number: {name: kept[name] for name in kept.keys() - _MOMENTS}
            for number, kept in state.items()
        }
        with next_checkpoint(self.whole.folder) if self.processes.is_first else nullcontext() as at:
            folder = self.processes.of_first(at)
            assert folder is not None, "the first process makes the folder"
            with _alone_on_purpose():
                save(
                    tensors,
                    storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True),
                    no_dist=self.processes.count == 1,
                )
            if self.processes.is_first:
                optimizer = {**checkpoint.optimizer, "state": rest}
                write_rest(folder, replace(checkpoint, optimizer=optimizer))

    def newest(self, run: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Checkpoint:
        """See `CheckpointStore.newest`."""
        path = newest_checkpoint(self.whole.folder)
        with told_damage(path):
            rest = read_rest(path)
            reader = HuggingFaceStorageReader(str(path))
            kept = {
                name: one.size
                for name, one in reader.read_metadata().state_dict_metadata.items()
                if isinstance(one, TensorStorageMetadata)
            }
        refuse_other_run(path, rest.run, run)
        has_best = any(name.startswith("best.") for name in kept)
        wanted: dict[str, Tensor] = {}
        for part in ("weights", "best") if has_best else ("weights",):
            # Shapes alone count here; no number is read.
            theirs = {
                name.removeprefix(f"{part}."): torch.empty(size, device="meta")
                for name, size in kept.items()
                if name.startswith(f"{part}.")
            }
            refuse_other_weights(path, theirs, weights)
            wanted |= {f"{part}.{name}": torch.zeros_like(one) for name, one in weights.items()}
        for number, one in enumerate(self.parameters):
            for name in _MOMENTS:
                if _moment(number, name) in kept:
                    wanted[_moment(number, name)] = torch.zeros_like(one.detach())
        with told_damage(path), _alone_on_purpose():
            load(wanted, storage_reader=reader, no_dist=self.processes.count == 1)
            for number, one in rest.optimizer["state"].items():
                if not all(_moment(number, name) in wanted for name in _MOMENTS):
                    raise ValueError(f"the moments of weight {number} are missing")
                one.update({name: wanted[_moment(number, name)] for name in _MOMENTS})
        return replace(
            rest,
            weights=_named(wanted, "weights."),
            best_weights=_named(wanted, "best.") if has_best else None,
        )

    def damaged(self, reason: str) -> ValueError:
        """See `CheckpointStore.damaged`."""
        return self.whole.damaged(reason)

    def of_another_version(self, reason: str) -> ValueError:
        """See `CheckpointStore.of_another_version`."""
        return self.whole.of_another_version(reason)


@contextmanager
def _alone_on_purpose() -> Iterator[None]:
    """A block in which torch does not ask whether one process alone is what was meant."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is (disabled|unavailable)")
        yield


def _moment(number: int, name: str) -> str:
    """The name of a moment of a parameter, by the number of the parameter in the optimizer."""
    return f"optimizer.{number}.{name}"


def _named(tensors: Mapping[str, Tensor], start: str) -> Weights:
    return {
        name.removeprefix(start): one for name, one in tensors.items() if name.startswith(start)
    }
