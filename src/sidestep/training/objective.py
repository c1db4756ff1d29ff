"""The objective: what the training loop lowers. A network and its loss in one module."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sidestep.data.windows import WindowBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What one forward pass says of one batch.

    loss: what is lowered: a mean over the targets of the batch, so that batches of different
        size can be added up by weight.
    num_targets: how many targets that mean is over; the batch's own count.
    parts: terms worth a line in the log, by name, each a mean over the same targets, detached.
        The same names at every step.
    """

    loss: Float[Tensor, ""]
    num_targets: int
    parts: dict[str, Float[Tensor, ""]]


class Objective(nn.Module, ABC):
    """A module whose forward is a loss; the rest has a default that most objectives keep.

    Everything that is trained lies in here, so that Accelerate can wrap the whole: gradients of
    several devices meet in `forward` and nowhere else.
    """

    @abstractmethod
    def forward(self, batch: WindowBatch) -> Loss:
        """The loss of one batch that lies on the objective's device."""
        ...

    @property
    def learning_rate_factors(self) -> Mapping[str, float]:
        """What the learning rate is multiplied by, by the start of parameter names; 1 elsewhere."""
        return {}

    @property
    def watched_parts(self) -> Sequence[str]:
        """The parts that whoever watches the run is shown, in this order."""
        return ()

    def after_step(self) -> None:
        """Called once the optimizer has stepped. What changes here belongs into `state_dict`."""
        return

    def limit_reached(self, parts: Mapping[str, float]) -> bool:
        """Whether training must end here, by the parts of the last line in the log."""
        del parts
        return False


class SearchingObjective(Objective):
    """An objective that learns from what a search finds, and draws anew at every step.

    The steps are counted in `state_dict`, so that a resumed run draws what it would have drawn.
    """

    num_steps: Tensor

    def __init__(self) -> None:
        """At the first step."""
        super().__init__()
        self.register_buffer("num_steps", torch.zeros((), dtype=torch.long))

    def after_step(self) -> None:
        """See `Objective.after_step`."""
        self.num_steps += 1
