"""The objective of a training: networks and their loss in one module."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sidestep.data.windows import WindowBatch, Windows
from sidestep.model.heads import ItemTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Loss of one batch.

    loss: the mean over the targets of the batch, so that batches of different size can be added up
        by weight.
    num_targets: number of targets of the mean; the batch's own count.
    parts: terms worth a line in the log, by name, each a mean over the same targets, detached.
        The same names at every step.
    """

    loss: Float[Tensor, ""]
    num_targets: int
    parts: dict[str, Float[Tensor, ""]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleCopy:
    """A copy of a trained module as it was at an earlier step.

    module: the copy; in `eval` mode, without gradients.
    source: the name of the trained module.
    every_steps: optimizer steps after which the copy is renewed; None: the copy stays as the
        module was before the first step.
    """

    module: nn.Module
    source: str
    every_steps: int | None

    @staticmethod
    def of(source: nn.Module, name: str, every_steps: int | None) -> "ModuleCopy":
        """A copy of a module as the module is now."""
        module = copy.deepcopy(source).requires_grad_(False).eval()
        return ModuleCopy(module=module, source=name, every_steps=every_steps)

    def is_due(self, num_steps: int) -> bool:
        """Whether the copy is renewed once so many optimizer steps are done."""
        return self.every_steps is not None and num_steps % self.every_steps == 0


class Objective(nn.Module, ABC):
    """A module whose forward is a loss.

    An objective declares every module that the objective reads, by name: `trained`, `frozen` and
    `copies`. The modules in `trained`, and the copies that are renewed, are submodules, so that
    the whole can be wrapped and a checkpoint keeps what changes: the gradients of several
    processes meet behind `forward` and nowhere else. `freeze` holds the frozen modules outside of
    `state_dict`, `parameters` and `train`; `keep_copy` does so with a copy that is never renewed. A
    call of `to` moves all of them.
    """

    def __init__(self) -> None:
        """Declares no frozen module and no copy."""
        super().__init__()
        self._frozen: dict[str, nn.Module] = {}
        self._copies: dict[str, ModuleCopy] = {}

    @property
    @abstractmethod
    def trained(self) -> Mapping[str, nn.Module]:
        """The modules that the optimizer changes.

        A weight of such a module that the loss does not read has `requires_grad` off.
        """
        ...

    @property
    def frozen(self) -> Mapping[str, nn.Module]:
        """The modules that the loss reads and no step changes."""
        return dict(self._frozen)

    @property
    def copies(self) -> Mapping[str, ModuleCopy]:
        """The copies of trained modules, each with the rule by which the copy is renewed."""
        return dict(self._copies)

    def freeze(self, name: str, module: nn.Module) -> None:
        """Declares a module that the loss reads and no step changes."""
        self._frozen[name] = module

    def keep_copy(self, name: str, source: str, *, every_steps: int | None) -> None:
        """Copies a trained module, and declares the copy.

        Args:
            name: of the copy; the submodule's name where the copy is renewed.
            source: the name of the trained module.
            every_steps: see `ModuleCopy`.
        """
        kept = ModuleCopy.of(self.trained[source], source, every_steps)
        self._copies[name] = kept
        if every_steps is not None:  # only what changes belongs into checkpoints
            self.add_module(name, kept.module)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Objective":
        """Moves or converts the submodules, and with them the frozen modules and the copies."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if recurse:
            moved = set(self.modules())
            others = [*self._frozen.values(), *(kept.module for kept in self._copies.values())]
            for module in others:
                if module not in moved:
                    module._apply(fn)  # type: ignore[no-untyped-call]
        return self

    def prepare(self, windows: Windows) -> None:
        """Reads all windows of the training; the loop calls it once, before the first step.

        What an objective reads of the windows follows from the windows alone, and belongs to no
        checkpoint.
        """
        for child in self.children():
            if isinstance(child, Objective):
                child.prepare(windows)

    @abstractmethod
    def forward(self, batch: WindowBatch) -> Loss:
        """The loss of one batch that lies on the objective's device."""
        ...

    @property
    def learning_rate_factors(self) -> Mapping[str, float]:
        """Factors on the learning rate, by the start of parameter names; 1 elsewhere."""
        return {}

    @property
    def row_tables(self) -> Sequence[ItemTable]:
        """The tables with a row per item of which a loss reads some rows and never all of them."""
        return ()

    @property
    def whole_batch_term(self) -> str | None:
        """The part of the loss that compares the windows of a batch, and what to do about it.

        Several processes share each batch, so they cannot train an objective with such a part. None
        if the loss is a mean over targets, each of which needs its own window alone. An objective
        has to say so: by default, it counts as one that needs whole batches.
        """
        return (
            f"{type(self).__name__}.whole_batch_term does not say that the loss is a mean over "
            "targets, each of which needs its own window alone"
        )

    @property
    def watched_parts(self) -> Sequence[str]:
        """The parts that the progress of the run shows, in this order."""
        return ()

    def after_step(self) -> None:
        """Called once the optimizer has stepped. What changes here belongs into `state_dict`."""
        return

    def limit_reached(self, parts: Mapping[str, float]) -> bool:
        """Whether training must end here, by the parts of the last line in the log."""
        del parts
        return False


class DrawingObjective(Objective):
    """An objective that draws anew at every step: candidates of a search, or orders of codebooks.

    The steps are counted in `state_dict`, so that a resumed run draws what it would have drawn.
    """

    num_steps: Tensor

    def __init__(self) -> None:
        """Starts the count of steps at 0."""
        super().__init__()
        self.register_buffer("num_steps", torch.zeros((), dtype=torch.long))

    def after_step(self) -> None:
        """See `Objective.after_step`: counts the step, and renews the copies that are due."""
        self.num_steps += 1
        for kept in self.copies.values():
            if kept.is_due(int(self.num_steps)):
                kept.module.load_state_dict(self.trained[kept.source].state_dict())
