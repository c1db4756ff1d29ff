"""Supervised training of thoughts: codes of reasoning before the codes of the next item."""

from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from sidestep.data.windows import WindowBatch
from sidestep.model.stream_rec import StreamRec
from sidestep.objectives.cross_entropy import next_code_cross_entropy
from sidestep.objectives.thought_traces import ThoughtTrace
from sidestep.objectives.weighting import mean_over_targets
from sidestep.training.next_code import NextCodeObjective
from sidestep.training.objective import Loss
from sidestep.training.objective_config import ThoughtConfig


class ThoughtObjective(NextCodeObjective):
    """The likelihood of a trace and of the codes behind it, and two losses that make traces better.

        L = CE(o_1, .., o_l, c_1, .., c_L) + w_c InfoNCE(s_i, t) + w_q quantisation

    The trace of each target is made anew at every step, see `ThoughtTrace`. It is a label: the
    decoder is given the codes of the trace, as it is given those of the item, and neither is known
    in a recommendation.

    Source: the supervised stage of STREAM-Rec (arXiv:2504.09627). Our choices: a thought is chosen
    among all codes, a code of the item among the codes of its level; the contrast is the mean over
    the steps; the weights. Left out: the stage before, which learns codes of similar items that
    were retrieved, and alone makes lists worse; and the preference (DPO) of thoughts over the
    answers of a model that does not think. `ThoughtRewardObjective` is the stage behind this one.
    """

    model: StreamRec
    config: ThoughtConfig

    def __init__(
        self,
        model: StreamRec,
        config: ThoughtConfig,
        *,
        categories: Int[Tensor, " items"] | None = None,
    ) -> None:
        """Takes the network that is trained; the arguments and errors are `NextCodeObjective`'s."""
        super().__init__(model, config, categories=categories)

    @property
    def whole_batch_term(self) -> str | None:
        """See `Objective.whole_batch_term`."""
        return "the contrast of thoughts compares the targets of a whole batch"

    def forward(self, batch: WindowBatch) -> Loss:
        """See `Objective.forward`.

        Parts: `thought_1` and so on are the losses of the thoughts, `code_1` and so on those of the
        codes; `contrast` and `quantisation` stand before their weights.
        """
        model, config = self.model, self.config
        users, positions = batch.is_target.nonzero(as_tuple=True)
        items, weights = batch.items[users, positions], batch.weights_of(users, positions)
        read = model.read(batch.before(users, positions))
        targets = model.item_vectors(items)
        trace = ThoughtTrace.made(
            read.summaries,
            targets,
            model.code_embedding.weight,
            to_residual=model.to_residual,
            to_state=model.to_state,
            num_steps=model.config.num_thoughts,
            commitment=config.commitment,
        )
        path = torch.cat([trace.codes, model.flat_codes(items)[:, :-1]], dim=1)
        states = model.path_states(read.memory, path)
        of_codes = self.loss_of(batch, states[:, model.config.num_thoughts :])
        thoughts = next_code_cross_entropy(
            model.thought_logits(states[:, : model.config.num_thoughts]),
            trace.codes,
            label_smoothing=config.label_smoothing,
            weights=None if weights is None else weights[:, None].expand(trace.codes.shape),
        )
        contrast = mean_over_targets(
            trace.contrast(targets, items, temperature=config.contrast_temperature), weights
        )
        quantisation = mean_over_targets(trace.quantisation.sum(dim=1), weights)
        return replace(
            of_codes,
            loss=of_codes.loss
            + thoughts.sum()
            + config.contrast_weight * contrast
            + config.quantisation_weight * quantisation,
            parts={
                **{f"thought_{step + 1}": part.detach() for step, part in enumerate(thoughts)},
                **of_codes.parts,
                "contrast": contrast.detach(),
                "quantisation": quantisation.detach(),
            },
        )
