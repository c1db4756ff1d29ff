"""Value-guided decoding: a tree that grows where values and doubt are high, within a budget.

Source: V-STAR (arXiv:2602.10699), sec. 4.2, eq. 10-14. Its rules stand in `search.ved_rules`;
here they are applied to the trees of a batch in lock-step. What the paper leaves open, and what we
chose, stands at `ValueGuidedDecoding` and at each rule.
"""

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.catalog.space import CodeSpace
from sidestep.catalog.trie import NO_STATE
from sidestep.search.budget import Budget
from sidestep.search.levels import Continuations, Level, levels
from sidestep.search.noise import edge_gumbels, user_keys
from sidestep.search.policy import Normaliser, code_log_probs, node_values
from sidestep.search.spent import Spent
from sidestep.search.tree import VALUE, Candidates, Tree, nodes_per_depth
from sidestep.search.ved_ledger import Children, GrowthRules, Ledger
from sidestep.search.ved_rules import RootGate
from sidestep.step import HistoryBatch, StepModel, StepOutput, entropies, normalised


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueGuidedDecoding:
    """VED: warm start, then selection by upper bounds, gated expansion, and visits.

    A beam search of `warm_width` begins each user's tree; its leaves are extended too, for their
    value. Then traversals go down from the root to the child with the largest

        U(s) = G(s) + β √(ln(N_root + 1) / (N(s) + 1)),   G(s) = v · V(s) + λ · H(s)

    (no H at leaves), and every node on the way that still has codes to try and whose G is at least
    the mean of its depth gets one child more, drawn from what is left by the policy's
    probabilities. Last, the leaves of the highest V are returned.

    Our choices: subtrees in which nothing can be expanded are not entered; gates are judged before
    the traversal; the nodes that pass expand deepest first while tokens last; where none passes,
    the open node that lacks least expands, the deepest of equal ones. So tokens are used up exactly
    unless the trie is exhausted. A traversal is a visit of every node of its path, once, also of
    those below the last node that expands; the paper counts visits along the ancestors of new
    children. Warm-start nodes begin unvisited. V(root) is γ times the mean V of its children. H is
    the entropy over legal codes, in nats. If there are too few leaves, the most likely children
    below the most valued prefixes of length L - 1 fill the list without a token.

    budget: tokens in all, the root included; exact, or in units of a beam.
    num_leaves: |C|, leaves returned, at most.
    warm_width: of the beam search at the start.
    exploration: β; the paper gives none.
    entropy_weight: λ.
    value_weight: v; 0 grows the tree by entropy alone. The answer's ranking is not touched by it.
    gamma: γ, what a value is worth one code earlier.
    answer_likelihood_weight: w of V + w · log π, by which the leaves are ranked and chosen at last;
        0, V alone, is as published.
    root_gate: when the root may expand; "always" is as the paper reads literally.
    paths_per_round: m, traversals of each user between two calls of the model, at most. They stop
        once m children wait, which is what a call shows of each user, so that none is padded to
        the width of another; what the last one made beyond that waits for the next call. They see
        each other's visits and which codes were taken, not each other's children, and N_root is
        that of before the first; 1 is the sequential algorithm.
    seed: of the draws; users of equal histories draw alike.
    normaliser: of the log-probabilities that are reported, and that the warm start goes by.
    """

    budget: Budget | int = field(default_factory=Budget)
    num_leaves: int = 16
    warm_width: int = 8
    exploration: float = 0.1
    entropy_weight: float = 0.1
    value_weight: float = 1.0
    gamma: float = 0.99
    answer_likelihood_weight: float = 0.0
    root_gate: RootGate = "priority"
    paths_per_round: int = 1
    seed: int = 0
    normaliser: Normaliser = "legal"
    name: str = "ved"

    def __post_init__(self) -> None:
        for name in ("num_leaves", "warm_width", "paths_per_round"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        weights = ("exploration", "entropy_weight", "value_weight", "answer_likelihood_weight")
        for name in weights:
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}.")
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"gamma must lie in 0..1, got {self.gamma}.")

    @torch.no_grad()
    def search(
        self, model: StepModel[Any], histories: HistoryBatch, scope: CodeSpace
    ) -> Candidates:
        """See `SearchPolicy.search`; leaves come in order of value, completed ones last.

        A completed leaf was never evaluated. Its score only says its place: the lowest value of
        the user's leaves, less its rank among the completed ones.

        Raises:
            TypeError: in the space, ways are of different lengths, or ways meet and the model does
                not choose one way to each state.
            ValueError: the warm start would take the whole budget, or the model has no values, or
                one that is not finite.
        """
        if scope.ends_early:
            raise _misfit(self.name, scope)
        # No tree has more nodes than the space, and memory is set aside for as many as tokens.
        tokens = min(self.tokens(scope.num_steps), scope.num_states)
        growth = _Growth(self, model, histories, scope, tokens=tokens)
        while growth.advance():
            pass
        return growth.candidates()

    def ranked_by(
        self, values: Float[Tensor, "users width"], log_probs: Float[Tensor, "users width"]
    ) -> Float[Tensor, "users width"]:
        """The values; the tree grows by more than them, which no prefix alone can tell."""
        return values

    def tokens(self, num_levels: int) -> int:
        """Tokens that are spent on a user, unless the trie is exhausted.

        Raises:
            ValueError: the warm start would take the whole budget.
        """
        tokens = self.budget if isinstance(self.budget, int) else self.budget.tokens(num_levels)
        warm_tokens = 1 + self.warm_width * num_levels
        if tokens <= warm_tokens:
            raise ValueError(
                f"the warm start alone takes up to {warm_tokens} of {tokens} tokens, so that "
                "nothing would be left to search with; lower warm_width or raise the budget."
            )
        return tokens


class _Growth:
    """The trees of a batch while they grow; a node's column is its slot."""

    def __init__(
        self,
        policy: ValueGuidedDecoding,
        model: StepModel[Any],
        histories: HistoryBatch,
        scope: CodeSpace,
        *,
        tokens: int,
    ) -> None:
        """Trees after their warm start, a beam search all of whose nodes stay."""
        self.policy, self.model, self.histories, self.scope = policy, model, histories, scope
        self.num_levels = scope.num_steps
        # A call shows m children of a user that is not yet done, but for its last one and those
        # before which it had nothing open left. Of these each leaves open only what is one code
        # longer than anything open before, so that there are at most L.
        widest = policy.warm_width + min(policy.paths_per_round, tokens)
        capacity = tokens + widest * (self.num_levels + 2)
        self.device = scope.device
        self.keys = user_keys(histories, policy.seed).to(self.device)
        shape = (len(histories.lengths), 1 + capacity)
        self.ledger = Ledger(
            users=shape[0],
            capacity=capacity,
            tokens=tokens - 1,
            num_levels=self.num_levels,
            rules=GrowthRules(
                exploration=policy.exploration,
                entropy_weight=policy.entropy_weight,
                value_weight=policy.value_weight,
                gamma=policy.gamma,
                root_gate=policy.root_gate,
            ),
        )
        self.states = torch.full(shape, NO_STATE, device=self.device)
        self.log_probs = torch.zeros(shape, device=self.device)
        # Log-probabilities of the codes that were not tried yet. Nothing reads a column before it
        # is written, and most stay so: empty ones take no memory.
        self.untried = torch.empty(*shape, scope.num_actions, device=self.device)
        # A slot beyond the tokens is hardly ever taken: the model sets aside no more at first.
        for level in levels(
            model,
            histories,
            scope,
            capacity=tokens,
            normaliser=policy.normaliser,
            begin=lambda root, context: partial(Continuations.likeliest, number=policy.warm_width),
            shows_leaves=True,
        ):
            self.context = level.context
            self._plant(level)

    def _plant(self, level: Level) -> None:
        """Puts a level of the warm start into the trees."""
        nodes, step = level.nodes, level.step
        assert step is not None
        if self.scope.ways_meet and step.choice is None:
            raise _misfit(self.policy.name, self.scope)
        parents, depths, is_node = (
            torch.stack([nodes.parents, nodes.depths, nodes.is_node.long()]).cpu().numpy()
        )
        is_node = is_node.astype(bool)
        if level.actions is not None:
            self.ledger.spend(parents, is_node)
            user, place = nodes.is_node.nonzero(as_tuple=True)
            parent, code = nodes.parents[user, place], level.actions[user, place]
            self.untried[user, parent, code] = -torch.inf
        by_code, num_codes = level.log_probs, torch.zeros_like(nodes.states)
        if by_code is None or level.legal is None:  # leaves
            by_code = torch.full_like(step.logits, -torch.inf)
        else:
            num_codes = step.followed(level.legal).sum(dim=2)
        self._put(nodes.states, nodes.log_probs, by_code, parents, depths, is_node, step, num_codes)

    def advance(self) -> bool:
        """One round: paths, expansions, one call of the model; False if nothing could grow.

        The children go to the device in one copy, and the model's answer comes back in one copy.
        """
        parents, depths, is_new = self.ledger.next_children(self.policy.paths_per_round)
        if parents.size == 0:
            return False
        made = Children.on(self.device, parents=parents, depths=depths, is_new=is_new)
        codes, log_probs = self._drawn(made)
        states = self.scope.child(self.states.gather(1, made.parents), codes)
        states = states.masked_fill(~made.is_new, NO_STATE)
        step, self.context = self.model.extend(
            self.context, codes, made.parents, made.depths, is_node=made.is_new
        )
        legal = self.scope.legal(states)
        by_code = code_log_probs(step, legal, self.policy.normaliser)
        num_codes = step.followed(legal).sum(dim=2)
        self._put(states, log_probs, by_code, parents, depths, is_new, step, num_codes)
        return True

    def candidates(self) -> Candidates:
        """The leaves of the highest value, or what else they are ranked by, then completed ones."""
        number, size = self.policy.num_leaves, self.ledger.size
        kept = (self.ledger.is_node, self.ledger.depths, self.ledger.parents)
        # One copy to the device; float64 holds depths and slots exactly.
        packed = np.stack([*self.ledger.ranked(), *np.stack(kept)[..., :size]])
        values, ranked_by, *counts = torch.from_numpy(packed).to(self.device)
        is_node, depths, parents = counts[0].bool(), counts[1].long(), counts[2].long()
        is_leaf = is_node & (depths == self.num_levels)
        weight = self.policy.answer_likelihood_weight
        scores = values + weight * self.log_probs[:, :size]
        scores = scores.masked_fill(~is_leaf, -torch.inf)
        scores, column = scores.topk(min(number, size), dim=1)
        leaves = self.states.gather(1, column).masked_fill(scores == -torch.inf, NO_STATE)
        log_probs = self.log_probs.gather(1, column)
        lowest = scores.masked_fill(scores == -torch.inf, torch.inf).amin(dim=1, keepdim=True)
        lowest = lowest.masked_fill(lowest == torch.inf, 0.0)
        if (leaves == NO_STATE).any() or leaves.shape[1] < number:
            more, their_log_probs = self._completed(
                values, is_node & (depths == self.num_levels - 1)
            )
            rank = torch.arange(1, more.shape[1] + 1, device=more.device)
            leaves = torch.cat([leaves, more], dim=1)
            scores = torch.cat([scores, lowest - rank], dim=1)
            log_probs = torch.cat([log_probs, their_log_probs], dim=1)
            order = (leaves == NO_STATE).byte().argsort(dim=1, stable=True)[:, :number]
            leaves, scores = leaves.gather(1, order), scores.gather(1, order)
            log_probs = log_probs.gather(1, order)
        is_missing = leaves == NO_STATE
        tree = Tree(
            states=self.states[:, :size],
            parents=parents,
            depths=depths,
            log_probs=self.log_probs[:, :size],
            scores=ranked_by.float(),
            is_node=is_node,
        )
        nodes = nodes_per_depth(tree, self.num_levels)
        return Candidates(
            leaves=leaves,
            log_probs=log_probs.masked_fill(is_missing, -torch.inf),
            scores=scores.masked_fill(is_missing, -torch.inf).float(),
            score_kind=f"{VALUE} + log_prob" if weight else VALUE,
            spent=Spent.on_nodes(self.model, self.histories, nodes),
            tree=tree,
        )

    def _completed(self, values: Tensor, is_above: Tensor) -> tuple[Tensor, Tensor]:
        """Leaves that were not tried, with log π: by V of the prefix above, then by probability."""
        number = self.policy.num_leaves
        num_above = int(is_above.sum(dim=1).max())
        by_value, above = values.masked_fill(~is_above, -torch.inf).sort(
            dim=1, descending=True, stable=True
        )
        by_value, above = by_value[:, :num_above], above[:, :num_above]
        untried = _rows(self.untried, above)
        untried = untried.masked_fill((by_value == -torch.inf)[..., None], -torch.inf)
        likely, codes = untried.topk(min(number, untried.shape[2]), dim=2)
        above = above[..., None].expand(codes.shape).flatten(1)
        likely, codes = likely.flatten(1), codes.flatten(1)
        order = (likely == -torch.inf).byte().argsort(dim=1, stable=True)[:, :number]
        above, codes, likely = (x.gather(1, order) for x in (above, codes, likely))
        leaves = self.scope.child(self.states.gather(1, above), codes, self.num_levels - 1)
        leaves = leaves.masked_fill(likely == -torch.inf, NO_STATE)
        return leaves, self.log_probs.gather(1, above) + likely

    # Parts of a round

    def _drawn(
        self, made: Children
    ) -> tuple[Int[Tensor, "users width"], Float[Tensor, "users width"]]:
        """A code for each new child, tried from now on, with the log-probability of its prefix.

        The draws of one node, one after the other, are its codes by log π plus noise; see
        `edge_gumbels`.
        """
        owners, nodes = made.owners, made.nodes
        untried = self.untried[owners, nodes]  # [drawn from, codes]
        states = self.states[owners, nodes][:, None]
        noise = edge_gumbels(self.keys[owners], states, untried.shape[1])[:, 0]
        drawn = (untried + noise).topk(made.most_draws, dim=1).indices[made.rows, made.ranks]
        self.untried[made.users, made.slots, drawn] = -torch.inf
        totals = self.log_probs[made.users, made.slots] + untried[made.rows, drawn]
        codes = torch.zeros_like(made.parents)
        codes.view(-1)[made.places] = drawn
        log_probs = torch.zeros_like(codes, dtype=totals.dtype)
        log_probs.view(-1)[made.places] = totals
        return codes, log_probs

    def _put(
        self,
        states: Int[Tensor, "users width"],
        log_probs: Float[Tensor, "users width"],
        by_code: Float[Tensor, "users width codes"],
        parents: Int[np.ndarray, "users width"],
        depths: Int[np.ndarray, "users width"],
        is_node: Bool[np.ndarray, "users width"],
        step: StepOutput,
        num_codes: Int[Tensor, "users width"],
    ) -> None:
        """Keeps new nodes, in the next columns, and what the model says of them.

        Args:
            states: of the nodes.
            log_probs: of their prefixes.
            by_code: log-probabilities of the codes that may follow, and -inf.
            parents: slots.
            depths: codes decided.
            is_node: False at padding.
            step: what the model says.
            num_codes: that may follow.
        """
        columns = slice(self.ledger.size, self.ledger.size + states.shape[1])
        # The entropy is over legal codes, whatever the log-probabilities sum to.
        logs = by_code if self.policy.normaliser == "legal" else normalised(by_code)
        self.states[:, columns] = states
        self.log_probs[:, columns] = log_probs
        self.untried[:, columns] = by_code
        self.ledger.add(
            parents,
            depths,
            is_node,
            values=node_values(step),
            entropies=entropies(logs),
            num_codes=num_codes,
        )


def _misfit(name: str, scope: CodeSpace) -> TypeError:
    """The error for a space in which the search cannot grow a tree."""
    return TypeError(
        f"{name} needs a space in which one way leads to each state and all ways are equally long, "
        f"or a model that chooses the codebook of each set, got {type(scope).__name__}; take a "
        "beam search."
    )


def _rows(
    values: Float[Tensor, "users nodes codes"], nodes: Int[Tensor, "users width"]
) -> Float[Tensor, "users width codes"]:
    """Values at some nodes of each user."""
    return values[torch.arange(len(nodes), device=nodes.device)[:, None], nodes]
