"""BeamFusion: a beam over all codes but the last, then the items below it by two softmaxes."""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch

from sidestep.catalog.space import CodeSpace
from sidestep.catalog.trie import NO_STATE
from sidestep.search.levels import Continuations, Propose, levels
from sidestep.search.policy import Normaliser, trie_scope
from sidestep.search.spent import Spent
from sidestep.search.tree import Candidates, Tree, nodes_per_depth
from sidestep.step import Context, HistoryBatch, StepModel, StepOutput, normalised


@dataclass(frozen=True, slots=True, kw_only=True)
class BeamFusion:
    """Ranks the leaves below the likeliest prefixes by prefix and last code together.

        score(leaf) = log softmax(τ · log π(prefix)) + log softmax(ψ · logit(leaf))

    The prefixes are those that a beam over all codes but the last keeps. The leaves are all legal
    leaves below these prefixes. The logit is that of the last code. In a COBRA, the logit is the
    cosine of the predicted vector and the vector of the item, divided by `model.temperature`. The
    search costs the tokens of a plain beam.

    Source: BeamFusion of COBRA (arXiv:2503.02453), Softmax(τ · φ) · Softmax(ψ · cos). Our
    reading: the first softmax sums over the prefixes of a user. We do not know over what the second
    one sums, so `among` says it. Departures: the ψ of the paper multiplies the cosine, so it is our
    ψ divided by the temperature; all leaves below a prefix are candidates, where the paper takes
    the N nearest.

    num_beams: prefixes kept per level, and leaves returned, at most.
    tau: τ, the weight of the prefix.
    psi: ψ, the weight of the last code.
    among: the leaves over which the second softmax sums. `all`: all candidates of a user, so that
        only ψ / τ changes a ranking. `prefix`: the leaves below the same prefix, so that with
        τ = ψ = 1 the ranking is that of a plain beam whose last level is as wide as there are
        candidates.
    normaliser: of the code probabilities.
    """

    num_beams: int = 50
    tau: float = 1.0
    psi: float = 1.0
    among: Literal["all", "prefix"] = "all"
    normaliser: Normaliser = "legal"
    name: str = "beam-fusion"
    reads_values: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.num_beams < 1:
            raise ValueError(f"num_beams must be at least 1, got {self.num_beams}.")
        for name, weight in (("tau", self.tau), ("psi", self.psi)):
            if not 0 < weight < float("inf"):
                raise ValueError(f"{name} must be above 0 and finite, got {weight}.")

    @torch.no_grad()
    def search(
        self, model: StepModel[Any], histories: HistoryBatch, scope: CodeSpace
    ) -> Candidates:
        """See `SearchPolicy.search`; the log-probabilities are those of the model.

        Raises:
            TypeError: the space is no scope of a trie.
        """
        space = trie_scope(scope, asker=self.name)
        shown: list[Tree] = []
        for level in levels(
            model,
            histories,
            space,
            capacity=min(self.num_beams * (space.num_steps - 1), space.num_states),
            normaliser=self.normaliser,
            begin=self._begin,
        ):
            shown.append(level.nodes)
            if len(shown) == space.num_steps:
                break  # the last codes are chosen here
        step, legal, code_logs = level.step, level.legal, level.log_probs
        assert step is not None, "the prefixes were shown"
        assert legal is not None, "the prefixes are no leaves"
        assert code_logs is not None, "the prefixes are no leaves"
        prefixes = level.kept
        is_candidate = legal & (prefixes.log_probs > -torch.inf)[..., None]
        of_prefixes = normalised(prefixes.log_probs, 1 / self.tau)
        start = 1 if self.among == "all" else 2
        of_leaves = normalised(
            step.logits.flatten(start), 1 / self.psi, legal=is_candidate.flatten(start)
        ).view(is_candidate.shape)
        fused = (of_prefixes[..., None] + of_leaves).flatten(1)
        best, index = fused.topk(min(self.num_beams, fused.shape[1]), dim=1)
        num_codes = is_candidate.shape[2]
        above = prefixes.states.gather(1, index // num_codes)
        leaves = space.child(above, index % num_codes, space.num_steps - 1)
        log_probs = (prefixes.log_probs[..., None] + code_logs).flatten(1).gather(1, index)
        is_none = best == -torch.inf
        nodes = nodes_per_depth(tree := Tree.joined(shown), space.num_steps)
        return Candidates(
            leaves=leaves.masked_fill(is_none, NO_STATE),
            log_probs=log_probs.masked_fill(is_none, -torch.inf),
            scores=best,
            score_kind="beam fusion",
            spent=Spent.on_nodes(model, histories, nodes),
            tree=tree,
        )

    def _begin(self, root: StepOutput, context: Context) -> Propose:
        return partial(Continuations.likeliest, number=self.num_beams)
