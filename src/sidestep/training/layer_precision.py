"""Adaptive precision: which linear layers of a training compute in fp32, and which in bf16."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sidestep.training.config import AdaptivePrecisionConfig
from sidestep.training.kfac import KfacSums, SumOverProcesses


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFigures:
    """Figures of a linear layer, by which its precision is chosen.

    name: of the layer in the objective.
    trace: K-FAC trace of its weights, see `KfacSums`.
    rounding_error: the mean squared error of a weight that is rounded to bf16.
    flops: of the layer in the sampled steps.
    """

    name: str
    trace: float
    rounding_error: float
    flops: int

    @property
    def sensitivity(self) -> float:
        """The trace times the rounding error: twice the expected rise of the loss of a target.

        An error d of the weights raises the loss by d·F·d / 2 in the second order. Errors of one
        size in all directions raise it by tr F · E[d²] / 2. The measure is that of HAWQ-V2
        (arXiv:1911.03852: the mean trace times the squared error), with K-FAC's trace in place of
        the Hessian's. The error is absolute: a relative one would be nearly equal for all layers.
        """
        return self.trace * self.rounding_error


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The precision of each linear layer, with the figures that decided it.

    layers: those that computed in the sampled steps, in the order of the network.
    fp32: the names of those that stay in fp32; the others compute in bf16.
    """

    layers: tuple[LayerFigures, ...]
    fp32: frozenset[str]

    @staticmethod
    def of(layers: Sequence[LayerFigures], *, fp32_share: float) -> "Assignment":
        """Keeps the layers of the highest score in fp32, as far as the share of the work allows.

        The score is the sensitivity by the share of the work, so what a layer promises for each
        unit of time. Layers are taken by falling score, equal ones in the order of the network. A
        layer that no longer fits is left out, and a later one that fits is taken: the greedy rule
        for a knapsack. Work is counted in FLOPs and not by a clock, so a resumed run decides alike.

        Args:
            layers: figures of the layers; layers without work are left out.
            fp32_share: share of the FLOPs of all layers that may be in fp32.
        """
        working = tuple(layer for layer in layers if layer.flops)
        room = fp32_share * sum(layer.flops for layer in working)
        spent, kept = 0, []
        for layer in sorted(working, key=lambda one: -one.sensitivity / one.flops):
            if spent + layer.flops <= room:
                spent += layer.flops
                kept.append(layer.name)
        return Assignment(layers=working, fp32=frozenset(kept))

    @property
    def bf16(self) -> frozenset[str]:
        """The names of the layers that compute in bf16."""
        return frozenset(layer.name for layer in self.layers) - self.fp32

    @property
    def fp32_share(self) -> float:
        """Share of the FLOPs of the layers that is in fp32."""
        kept = (self._share(layer) for layer in self.layers if layer.name in self.fp32)
        return sum(kept, start=0.0)

    def as_json(self) -> dict[str, Any]:
        """The assignment as a part of a line in the log."""
        return {
            "fp32_share": self.fp32_share,
            "layers": {
                layer.name: {
                    "precision": "fp32" if layer.name in self.fp32 else "bf16",
                    "trace": layer.trace,
                    "rounding_error": layer.rounding_error,
                    "sensitivity": layer.sensitivity,
                    "share": self._share(layer),
                }
                for layer in self.layers
            },
        }

    def in_words(self) -> str:
        """The assignment as a sentence."""
        names = [layer.name for layer in self.layers if layer.name in self.fp32]
        which = f": {', '.join(names)}" if names else ""
        return (
            f"{len(names)} of {len(self.layers)} linear layers compute in fp32 "
            f"({self.fp32_share:.0%} of their work){which}. The others compute in bf16."
        )

    def _share(self, layer: LayerFigures) -> float:
        return layer.flops / sum(one.flops for one in self.layers)


class AdaptivePrecision:
    """The precision of each linear layer of an objective, chosen anew every some steps.

    Every period of `every_steps` optimizer steps begins with `sampled_steps` steps that are
    watched for K-FAC traces. After these steps, `Assignment.of` chooses. Until the first choice
    all layers compute in fp32.

    A step computes as with precision bf16, but its layers of fp32 do not: they read float32, and
    give float32. Where no layer is in bf16, the step computes as with precision fp32. So the two
    ends of `fp32_share` are the two plain precisions, bit for bit. What has no weights, such as the
    product of queries and keys, follows the layers of bf16.

    Source: LADQ of REG4Rec, section VI-A: sensitivity from sampled K-FAC traces, a score of
    sensitivity and share of latency, a new choice at intervals. Score, interval and share are not
    reported there, so they are our choices; and there is no fp8 here.

    assignment: the latest choice; None before the first.
    """

    def __init__(
        self,
        objective: nn.Module,
        config: AdaptivePrecisionConfig,
        device: torch.device,
        over_processes: SumOverProcesses,
    ) -> None:
        """Finds the linear layers whose weights learn.

        Args:
            objective: on its device.
            config: how often the precision is chosen, and how much may stay in fp32.
            device: of this process.
            over_processes: adds a tensor up over the processes.

        Raises:
            ValueError: no linear layer learns.
        """
        self._layers = {
            name: module
            for name, module in objective.named_modules()
            if isinstance(module, nn.Linear) and module.weight.requires_grad
        }
        if not self._layers:
            raise ValueError(
                "precision is adaptive, but the network has no linear layer that learns: set "
                "training.precision to fp32 or bf16."
            )
        self._config, self._device, self._over_processes = config, device, over_processes
        self.assignment: Assignment | None = None
        self._num_steps = 0
        self._sums, self._of_step = self._no_sums(), self._no_sums()

    @property
    def bf16(self) -> frozenset[str]:
        """The names of the layers that compute in bf16 now."""
        return frozenset() if self.assignment is None else self.assignment.bf16

    @contextmanager
    def forward(self, *, scale: float, is_counted: bool = True) -> Iterator[None]:
        """A forward pass within which every layer computes in its precision.

        Args:
            scale: the factor that makes a gradient of the step that of the loss of one target.
            is_counted: whether the pass may be sampled; off for a batch of weight zero.
        """
        is_sampled = is_counted and self._is_sampled
        bf16 = self.bf16
        before: dict[str, Any] = {}
        try:
            for index, (name, layer) in enumerate(self._layers.items()):
                stays = bool(bf16) and name not in bf16
                if not (is_sampled or stays):
                    continue
                before[name] = vars(layer).get("forward")
                sums = self._of_step if is_sampled else None
                watched = _Watched(
                    layer, index, sums, scale=scale, stays=stays, is_mixed=bool(bf16)
                )
                layer.forward = watched  # type: ignore[method-assign, assignment]
            with torch.autocast(self._device.type, torch.bfloat16, bool(bf16)):
                yield
        finally:
            for name, forward in before.items():
                layer = self._layers[name]
                if forward is None:
                    del layer.forward
                else:
                    layer.forward = forward  # type: ignore[method-assign]

    def after_step(self, num_targets: int) -> Assignment | None:
        """Counts a step whose optimizer has stepped; returns the choice, if one was due.

        Args:
            num_targets: of the step, over all processes.
        """
        if self._is_sampled:
            self._sums.add(self._of_step, num_targets, self._over_processes)
            self._of_step = self._no_sums()
        self._num_steps += 1
        if (self._num_steps - self._config.sampled_steps) % self._config.every_steps:
            return None
        self.assignment = Assignment.of(self._figures(), fp32_share=self._config.fp32_share)
        self._sums = self._no_sums()
        return self.assignment

    def state_dict(self) -> dict[str, Any]:
        """The choice and what was sampled for the next one, for a checkpoint."""
        chosen = self.assignment
        return {
            "num_steps": self._num_steps,
            "sums": self._sums.state_dict(),
            "assignment": None
            if chosen is None
            else {
                "layers": [
                    [layer.name, layer.trace, layer.rounding_error, layer.flops]
                    for layer in chosen.layers
                ],
                "fp32": sorted(chosen.fp32),
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Puts the choice back to where it was when its state was saved."""
        self._num_steps = state["num_steps"]
        self._sums.load_state_dict(state["sums"])
        chosen = state["assignment"]
        if chosen is not None:
            layers = tuple(
                LayerFigures(name=name, trace=trace, rounding_error=error, flops=flops)
                for name, trace, error, flops in chosen["layers"]
            )
            self.assignment = Assignment(layers=layers, fp32=frozenset(chosen["fp32"]))

    @property
    def _is_sampled(self) -> bool:
        return self._num_steps % self._config.every_steps < self._config.sampled_steps

    def _no_sums(self) -> KfacSums:
        return KfacSums(list(self._layers.values()), self._device)

    def _figures(self) -> list[LayerFigures]:
        errors = torch.stack([rounding_error(layer) for layer in self._layers.values()]).tolist()
        return [
            LayerFigures(name=name, trace=trace, rounding_error=error, flops=flops)
            for name, trace, error, flops in zip(
                self._layers, self._sums.traces(), errors, self._sums.flops(), strict=True
            )
        ]


def rounding_error(layer: nn.Linear) -> Tensor:
    """The mean squared error of a weight or bias of a layer that is rounded to bf16; a scalar."""
    given = [weights for weights in (layer.weight, layer.bias) if weights is not None]
    flat = torch.cat([weights.detach().float().flatten() for weights in given])
    return (flat.to(torch.bfloat16).float() - flat).square().mean()


class _Watched:
    """The forward pass of a linear layer that stays in fp32, is sampled, or both."""

    def __init__(
        self,
        layer: nn.Linear,
        index: int,
        sums: KfacSums | None,
        *,
        scale: float,
        stays: bool,
        is_mixed: bool,
    ) -> None:
        self._layer, self._original, self._index = layer, layer.forward, index
        self._sums, self._scale, self._stays, self._is_mixed = sums, scale, stays, is_mixed

    def __call__(self, inputs: Tensor) -> Tensor:
        # A network may compute in float32 in any case, as value heads do: nothing to choose there.
        is_open = not self._is_mixed or torch.is_autocast_enabled(inputs.device.type)
        if self._stays:
            with torch.autocast(inputs.device.type, enabled=False):
                outputs = self._original(inputs.to(self._layer.weight.dtype))
        else:
            outputs = self._original(inputs)
        if self._sums is not None and is_open:
            self._sums.watch(self._index, inputs, outputs, scale=self._scale)
        return outputs
