"""Sampling without replacement: leaves drawn from the policy itself, none of them twice.

Stochastic beam search (Kool, van Hoof, Welling 2019, arXiv:1903.06059, Alg. 1) over a code space:
the leaves with the largest Gumbel-perturbed log-probabilities are the sample, and a prefix is
kept by the largest among the leaves below it, which is drawn top-down. Optionally from a policy
made colder, hotter or cut to its likeliest codes. It does not return what a beam of the same
width does but for temperature -> 0.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.catalog.space import CodeSpace
from sidestep.search.levels import Continuations, Prefixes, Propose, search_by_levels
from sidestep.search.noise import edge_gumbels, user_keys
from sidestep.search.policy import Normaliser
from sidestep.search.tree import LOG_PROB, Candidates
from sidestep.step import Context, HistoryBatch, StepModel, StepOutput, normalised


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Draws leaves without replacement; costs the tokens of a beam as wide as the sample.

    The proposal is per prefix: the policy over legal codes at a temperature, cut by `top_k` and
    `top_p` and renormalised. The cut can leave fewer leaves than are wanted.

    num_samples: leaves drawn, at most.
    seed: another one draws another sample; users of equal histories draw the same one.
    temperature: of the proposal; above 1 flattens.
    top_k: the likeliest codes after each prefix that may be drawn; None: all.
    top_p: draw from the smallest set of likeliest codes that has this much of the proposal
        (nucleus, arXiv:1904.09751); None: all.
    normaliser: of the log-probabilities that leaves are reported and ranked by.
    """

    num_samples: int = 16
    seed: int = 0
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    normaliser: Normaliser = "legal"
    name: str = "sampling"
    reads_values: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {self.num_samples}.")
        if self.temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}.")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {self.top_k}; None draws from all.")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, got {self.top_p}.")

    def search(
        self, model: StepModel[Any], histories: HistoryBatch, scope: CodeSpace
    ) -> Candidates:
        """See `SearchPolicy.search`; leaves come in order of log-probability, not of the draw.

        In the tree, a score is the perturbed log-probability of a prefix under the proposal.
        """
        keys = user_keys(histories, self.seed)

        def begin(root: StepOutput, context: Context) -> Propose:
            return _Draw(self, keys)

        found = search_by_levels(
            model,
            histories,
            scope,
            num_nodes=self.num_samples * (scope.num_steps - 1),
            normaliser=self.normaliser,
            begin=begin,
            score_kind=LOG_PROB,
        )
        return found.by_log_probs()

    def proposal(self, log_probs: Float[Tensor, "*batch codes"]) -> Float[Tensor, "*batch codes"]:
        """Logs of the proposal after each prefix; -inf at codes it never draws.

        Args:
            log_probs: of the codes under the policy, up to a constant of the prefix.
        """
        logs = normalised(log_probs, self.temperature)
        if self.top_k is not None:
            logs = likeliest_only(logs, self.top_k)
        if self.top_p is not None:
            logs = nucleus(normalised(logs), self.top_p)
        return normalised(logs)


class _Draw:
    """One batch's way down: remembers of the prefixes kept what likelihood does not tell."""

    def __init__(self, policy: Sampling, keys: Int[Tensor, " users"]) -> None:
        self.policy = policy
        self.keys = keys
        # Of the beams: the proposal's log-probability, and the same with noise. The root's noise
        # decides nothing: only differences of its descendants do.
        self.logs = torch.zeros(len(keys), 1, dtype=torch.float64, device=keys.device)
        self.perturbed = self.logs

    def __call__(self, longer: Continuations) -> Prefixes:
        logs = self.policy.proposal(longer.log_probs).double() + self.logs[..., None]
        noise = edge_gumbels(self.keys, longer.states, logs.shape[2])
        perturbed = below_maximum(logs + noise, self.perturbed)
        # Beams that a user does not have are -inf throughout.
        perturbed = perturbed.masked_fill(longer.log_probs == -torch.inf, -torch.inf)
        num_codes = logs.shape[2]
        flat = perturbed.flatten(1)
        best, index = flat.topk(min(self.policy.num_samples, flat.shape[1]), dim=1)
        is_drawn = best > -torch.inf
        self.logs, self.perturbed = logs.flatten(1).gather(1, index), best
        log_probs = longer.log_probs.flatten(1).gather(1, index)
        return Prefixes(
            beams=index // num_codes,
            codes=index % num_codes,
            log_probs=log_probs.masked_fill(~is_drawn, -torch.inf),
            scores=best.to(log_probs.dtype),
        )


def below_maximum(
    perturbed: Float[Tensor, "users beams codes"], maximum: Float[Tensor, "users beams"]
) -> Float[Tensor, "users beams codes"]:
    """Perturbed log-probabilities of siblings, moved so that their largest is `maximum`.

        T = maximum, Z = max_c G_c:  G'_c = -log(exp(-T) - exp(-Z) + exp(-G_c))

    What this gives has the law of the G_c under the condition that their largest is T. Computed
    as in Kool et al. 2019, Appendix B.3, which neither overflows nor cancels. -inf stays -inf.
    """
    largest = perturbed.amax(dim=2, keepdim=True)
    is_edge = perturbed > -torch.inf
    behind = torch.where(is_edge, perturbed - largest, -torch.inf)  # at most 0; NaN without edge
    above = maximum[..., None] - perturbed + torch.log1p(-behind.exp())
    moved = maximum[..., None] - above.clamp(min=0) - torch.log1p((-above.abs()).exp())
    return torch.where(is_edge, moved, -torch.inf)


def likeliest_only(
    logs: Float[Tensor, "*batch codes"], number: int
) -> Float[Tensor, "*batch codes"]:
    """`logs` with -inf at all but the `number` largest of each row, the first ones of equals."""
    order = logs.argsort(dim=-1, descending=True, stable=True)
    rank = torch.arange(logs.shape[-1], device=logs.device).expand_as(order)
    is_in = torch.zeros_like(logs, dtype=torch.bool).scatter(-1, order, rank < number)
    return logs.masked_fill(~is_in, -torch.inf)


def nucleus(
    log_probs: Float[Tensor, "*batch codes"], top_p: float
) -> Float[Tensor, "*batch codes"]:
    """`log_probs` with -inf outside the smallest set of likeliest codes that has `top_p`.

    Source: Holtzman et al. 2020 (arXiv:1904.09751). The likeliest code is always inside.
    """
    ordered, order = log_probs.sort(dim=-1, descending=True, stable=True)
    probs = ordered.double().exp()
    before = probs.cumsum(dim=-1) - probs
    is_in = torch.zeros_like(log_probs, dtype=torch.bool).scatter(-1, order, before < top_p)
    return log_probs.masked_fill(~is_in, -torch.inf)
