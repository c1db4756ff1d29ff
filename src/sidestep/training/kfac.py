"""K-FAC traces: how steep the loss is along the weights of each linear layer, from samples."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

SumOverProcesses = Callable[[Tensor], Tensor]
"""Adds a tensor up over the processes of a launch."""


class KfacSums:
    """Sums over some steps, from which the K-FAC trace of each linear layer follows.

    K-FAC approximates the Fisher matrix of the weights of a linear layer by a Kronecker product:

        F ~ A ⊗ G,  A = E[a aᵀ],  G = E[g gᵀ],  so  tr F ~ tr A · tr G = E|a|² · E|g|²

    a is an input of the layer, with a 1 behind it where the layer has a bias. g is the gradient of
    the loss of one target by an output of the layer. Only the two squared norms are needed, so no
    matrix is kept.

    Source: Martens and Grosse 2015 (arXiv:1503.05671). A layer reads several positions per target:
    A is the mean over positions, G the sum over positions and the mean over targets (K-FAC-expand,
    Eschenhagen et al. 2023, arXiv:2311.00636). Our choices: the targets of the batch stand for
    draws from the network (the empirical Fisher matrix), so that no second backward pass is needed;
    positions of padding count in A.

    layers: the linear layers, in a fixed order.
    num_targets: of the steps that were sampled, over all processes.
    """

    def __init__(self, layers: list[nn.Linear], device: torch.device) -> None:
        """Sums of no step.

        Args:
            layers: the linear layers.
            device: where the layers compute.
        """
        self.layers = layers
        self.num_targets = 0
        # Per layer: squares of inputs and of gradients; rows with a gradient, and all rows.
        self._squares = torch.zeros(len(layers), 2, device=device)
        self._rows = [[0, 0] for _ in layers]

    def watch(self, layer: int, inputs: Tensor, outputs: Tensor, *, scale: float) -> None:
        """Counts one call of a layer, and its gradient once the backward pass has reached it.

        The call changes neither the outputs nor the gradient.

        Args:
            layer: its place among the layers.
            inputs: of the call, any shape that ends with the layer's inputs.
            outputs: of the call.
            scale: the factor that makes the gradient that of the loss of one target.
        """
        rows = inputs.numel() // inputs.shape[-1]
        self._rows[layer][1] += rows
        if not outputs.requires_grad:
            return
        self._rows[layer][0] += rows
        squares = self._squares
        squares[layer, 0] += inputs.detach().float().square().sum()

        def watch_gradient(gradient: Tensor) -> None:
            squares[layer, 1] += (gradient.float() * scale).square().sum()

        outputs.register_hook(watch_gradient)  # type: ignore[no-untyped-call]

    def add(self, step: "KfacSums", num_targets: int, over_processes: SumOverProcesses) -> None:
        """Adds the sums of one step of all processes.

        Args:
            step: the sums of this process.
            num_targets: of the step, over all processes.
            over_processes: adds a tensor up over the processes.
        """
        self._squares = self._squares + over_processes(step._squares)
        rows = over_processes(torch.tensor(step._rows, device=step._squares.device)).tolist()
        self._rows = [
            [ours + theirs for ours, theirs in zip(*both, strict=True)]
            for both in zip(self._rows, rows, strict=True)
        ]
        self.num_targets += num_targets

    def traces(self) -> list[float]:
        """The K-FAC trace of each layer; 0 for a layer without a gradient."""
        traces = []
        for layer, (of_inputs, of_gradients), (rows, _) in zip(
            self.layers, self._squares.tolist(), self._rows, strict=True
        ):
            ones = 0 if layer.bias is None else 1
            inputs = of_inputs / rows + ones if rows else 0.0
            traces.append(inputs * of_gradients / max(self.num_targets, 1))
        return traces

    def flops(self) -> list[int]:
        """FLOPs of the forward products of each layer in the sampled steps, two per weight."""
        return [
            2 * rows * layer.weight.numel()
            for layer, (_, rows) in zip(self.layers, self._rows, strict=True)
        ]

    def state_dict(self) -> dict[str, Any]:
        """The sums, for a checkpoint."""
        return {
            "squares": self._squares.cpu(),
            "rows": [list(rows) for rows in self._rows],
            "num_targets": self.num_targets,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Puts the sums back to where they were when their state was saved."""
        self._squares = state["squares"].to(self._squares.device)
        self._rows = [list(rows) for rows in state["rows"]]
        self.num_targets = state["num_targets"]
