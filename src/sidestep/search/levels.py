"""Search by levels: the one loop of beams and their relatives, which differ in what they keep.

A level is a step of a code space. In a trie, how many columns a level has follows from the settings
and from the space alone, never from what the model says: nothing in the loop waits for a number of
the device. In a space whose ways end early, each level waits twice: for whether all ways have
ended, and for the most nodes of a user, so that the model sees no column of a state that waits. A
level that decides pairs of codes waits for the most pairs of a state, too.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.catalog.set_space import SetSpace
from sidestep.catalog.space import CodeSpace, ShortensWays
from sidestep.catalog.trie import NO_CODE, NO_STATE
from sidestep.search.code_pairs import CodePairs
from sidestep.search.policy import Normaliser, code_log_probs
from sidestep.search.spent import Spent
from sidestep.search.tree import Candidates, Tree, nodes_per_depth
from sidestep.step import ROOT_SLOT, Context, HistoryBatch, StepModel, StepOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuations:
    """All prefixes one action longer than the beams, or one pair of codes longer.

    states: of the beams; `NO_STATE` where there is none.
    log_probs: of the longer prefixes; -inf where no item in scope has one. Where the level decides
        pairs, the last axis numbers the pairs of each beam, and so do the codes of `Prefixes`.
    depth: actions of the longer prefixes.
    space: of the states.
    pairs: of each beam; None where the level decides one code.
    """

    states: Int[Tensor, "users beams"]
    log_probs: Float[Tensor, "users beams codes"]
    depth: int
    space: CodeSpace
    pairs: CodePairs | None = None

    def states_of(self, prefixes: "Prefixes") -> Int[Tensor, "users kept"]:
        """The states of some of the prefixes; `NO_STATE` where there is none.

        A complete state that waits is its own continuation.
        """
        above = self.states.gather(1, prefixes.beams)
        if self.pairs is None:
            states = self.space.child(above, prefixes.codes, self.depth - 1)
        else:
            middle = self.space.child(above, _of_kept(self.pairs.first, prefixes))
            states = self.space.child(middle, _of_kept(self.pairs.second, prefixes))
            # The first code may have ended the way.
            states = torch.where(self.space.is_complete(middle), middle, states)
        if self.space.ends_early:
            states = torch.where(self.space.is_complete(above), above, states)
        return states.masked_fill(prefixes.log_probs == -torch.inf, NO_STATE)

    def shown(self, prefixes: "Prefixes") -> Int[Tensor, "users kept"]:
        """The action that the model is shown of each of the prefixes."""
        return prefixes.codes if self.pairs is None else _of_kept(self.pairs.shown, prefixes)

    def likeliest(self, number: int) -> "Prefixes":
        """The `number` most likely prefixes, best first; likelihood is their score."""
        num_codes = self.log_probs.shape[2]
        flat = self.log_probs.flatten(1)
        best, index = flat.topk(min(number, flat.shape[1]), dim=1)
        return Prefixes(
            beams=index // num_codes, codes=index % num_codes, log_probs=best, scores=best
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefixes:
    """Some of the continuations, best first.

    beams: the column of the beam that each prefix continues.
    codes: the action that each prefix adds to its beam, or the number of the pair.
    log_probs: of the prefixes; -inf where a user has fewer.
    scores: the order of the prefixes; -inf where a user has fewer.
    """

    beams: Int[Tensor, "users kept"]
    codes: Int[Tensor, "users kept"]
    log_probs: Float[Tensor, "users kept"]
    scores: Float[Tensor, "users kept"]

    def best(self, scores: Float[Tensor, "users kept"], number: int) -> "Prefixes":
        """The `number` best of these prefixes by other scores, best first."""
        best, index = scores.topk(min(number, scores.shape[1]), dim=1)
        return Prefixes(
            beams=self.beams.gather(1, index),
            codes=self.codes.gather(1, index),
            log_probs=self.log_probs.gather(1, index),
            scores=best,
        )


Propose = Callable[[Continuations], Prefixes]
"""A function that chooses the prefixes of one level that the search keeps.

It is bound to the histories already.
"""

Judge = Callable[[Tree, StepOutput], tuple[Tree, Int[Tensor, "users kept"]]]
"""A function that chooses among prefixes after the model was shown them.

It returns the nodes with their new scores, and the columns of the nodes that are kept.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """The nodes of one depth, and the output of the model at the nodes that the search keeps.

    nodes: in the next slots of the tree; at the last depth not in the tree unless leaves are shown.
    actions: the last one of each node; None at the root.
    kept: the nodes that the search goes on from; `nodes` itself where these are all.
    step: of the kept nodes, or of the open ones alone, see `levels`; None where the model was not
        shown them.
    legal: the actions that may follow the nodes of `step`; None at the last depth.
    log_probs: of the actions, given the node alone; None at the last depth.
    context: of all nodes that the model was shown until now.
    """

    nodes: Tree
    actions: Int[Tensor, "users width"] | None
    kept: Tree
    step: StepOutput | None
    legal: Bool[Tensor, "users kept codes"] | None
    log_probs: Float[Tensor, "users kept codes"] | None
    context: Context


def levels(
    model: StepModel[Any],
    histories: HistoryBatch,
    space: CodeSpace,
    *,
    capacity: int,
    normaliser: Normaliser,
    begin: Callable[[StepOutput, Context], Propose],
    judge: Judge | None = None,
    shows_leaves: bool = False,
    spares_waiting: bool = False,
    pairs_after: int | None = None,
) -> Iterator[Level]:
    """Descends step by step, from the level of the root to that of the leaves.

    A state that is complete before the last step waits, unchanged, for the others: it competes
    with them by its scores, and costs a token only where leaves are shown. Its value stays, too.
    Where ways meet, the likeliest way to a state stands for it.

    The caller switches gradients off.

    Args:
        model: is shown what is proposed.
        histories: of the users.
        space: the items that may be returned.
        capacity: nodes that the model makes room for.
        normaliser: of the code probabilities.
        begin: binds the choice to the histories: the output at the root and the context.
        judge: chooses again among what was shown; None keeps all.
        shows_leaves: whether the model is shown the last level, too; for their values.
        spares_waiting: where ways end early, the model sees a narrow level: the columns of states
            that wait are left out. `Level.nodes` and `Level.step` then have the open nodes alone.
            Not with a judge.
        pairs_after: the number of codes after which a step decides two codes, see `CodePairs`. A
            last code that is left over comes alone. None: every step decides one code.

    Raises:
        ValueError: pairs are asked for, and the space is not that of code sets, or the model
            chooses no codebook.
    """
    step, context = model.encode(histories, capacity=capacity)
    # A search that reads leaves compares what is read of one depth, so no way may end early.
    if step.choice is not None and not shows_leaves and isinstance(space, ShortensWays):
        space = space.shortened()
    if pairs_after is not None and (step.choice is None or not isinstance(space, SetSpace)):
        raise ValueError(
            "codes_per_step 2 needs a catalog of sets and a network over sets; set codes_per_step "
            "to 1, or take a run of kind code-sets or code-sets-t5."
        )
    propose = begin(step, context)
    num_users, num_steps = len(histories.lengths), space.num_steps
    beams = nodes = read = Tree.root(space.root(num_users))
    slots, num_slots = torch.full_like(nodes.states, ROOT_SLOT), 1
    actions, is_narrow = None, False
    depth = num_shown = 0  # codes decided, and codes that the model has read of each way
    while depth < num_steps:
        legal = space.legal(read.states, depth)
        log_probs = code_log_probs(step, legal, normaliser)
        yield Level(
            nodes=nodes,
            actions=actions,
            kept=beams,
            step=step,
            legal=legal,
            log_probs=log_probs,
            context=context,
        )
        pairs = None
        if pairs_after is not None and pairs_after <= depth <= num_steps - 2:
            assert isinstance(space, SetSpace), "checked above"
            pairs = CodePairs.of(step, read.states, legal, space, normaliser)
            log_probs = pairs.log_probs
        depth, num_shown = depth + (1 if pairs is None else 2), num_shown + 1
        if is_narrow:
            at = (slots - (num_slots - read.states.shape[1])).clamp(min=0)
            log_probs = log_probs.take_along_dim(at[..., None], dim=1)
            pairs = None if pairs is None else pairs.at(at)
        totals = log_probs + beams.log_probs[..., None]
        if space.ends_early:
            totals = _with_waiting(totals, beams, space)
        # A policy that chooses the codebook of each state has one way to each set.
        if space.ways_meet and step.choice is None:
            totals = _each_state_once(totals, beams.states, space, depth)
        longer = Continuations(
            states=beams.states, log_probs=totals, depth=depth, space=space, pairs=pairs
        )
        kept = propose(longer)
        actions, states = longer.shown(kept), longer.states_of(kept)
        is_node = kept.log_probs > -torch.inf
        if space.ends_early:
            above = beams.states.gather(1, kept.beams)
            is_node &= ~space.is_complete(above if shows_leaves else states)
        beams = nodes = read = Tree(
            states=states,
            parents=slots.gather(1, kept.beams),
            depths=torch.full_like(actions, num_shown),
            log_probs=kept.log_probs,
            scores=kept.scores,
            is_node=is_node,
        )
        if space.ends_early and not shows_leaves and not bool(is_node.any()):
            break  # all ways have ended
        is_narrow = spares_waiting and space.ends_early and judge is None
        if depth < num_steps or shows_leaves:
            if is_narrow:
                columns = _open_columns(is_node)
                nodes = read = nodes.at(columns)
                actions, is_node = actions.gather(1, columns), nodes.is_node
            before = step.value
            step, context = model.extend(
                context, actions, nodes.parents, nodes.depths, is_node=is_node, depth=num_shown
            )
            if not is_narrow and space.ends_early and before is not None:
                assert step.value is not None, "the model gave values before"
                waits = space.is_complete(above)
                kept_value = before.gather(1, kept.beams)
                step = replace(step, value=torch.where(waits, kept_value, step.value))
            width = actions.shape[1]
            slots = torch.arange(num_slots, num_slots + width, device=states.device)
            slots, num_slots = slots.expand(num_users, width), num_slots + width
            if is_narrow:
                # What waits has no slot and no child; any slot stands for it.
                slots = num_slots - width + (beams.is_node.cumsum(dim=1) - 1).clamp(min=0)
            if judge is not None:
                nodes, columns = judge(nodes, step)
                beams, slots = nodes.at(columns), slots.gather(1, columns)
                read, step = beams, step.at(columns)
    yield Level(
        nodes=nodes,
        actions=actions,
        kept=beams,
        step=step if shows_leaves else None,
        legal=None,
        log_probs=None,
        context=context,
    )


@torch.no_grad()
def search_by_levels(
    model: StepModel[Any],
    histories: HistoryBatch,
    space: CodeSpace,
    *,
    num_nodes: int,
    normaliser: Normaliser,
    begin: Callable[[StepOutput, Context], Propose],
    score_kind: str,
    judge: Judge | None = None,
    judges_leaves: bool = True,
    pairs_after: int | None = None,
) -> Candidates:
    """Descends level by level and returns what is kept of the last one.

    Costs 1 + Σ_l (prefixes proposed of length l) tokens: of l < L, and of l = L if a judge sees
    leaves. A prefix of a pair costs one token.

    Args:
        model: see `levels`.
        histories: see `levels`.
        space: see `levels`.
        num_nodes: nodes that the model is shown, at most.
        normaliser: see `levels`.
        begin: see `levels`.
        score_kind: what the choice ranks by.
        judge: see `levels`.
        judges_leaves: whether a judge sees the last level, too.
        pairs_after: see `levels`.
    """
    shown = []
    for level in levels(
        model,
        histories,
        space,
        capacity=min(num_nodes, space.num_states),
        normaliser=normaliser,
        begin=begin,
        judge=judge,
        shows_leaves=judge is not None and judges_leaves,
        spares_waiting=True,
        pairs_after=pairs_after,
    ):
        if level.step is not None:
            shown.append(level.nodes)
    found, tree = level.kept, Tree.joined(shown)
    nodes = nodes_per_depth(tree, space.num_steps)
    return Candidates(
        leaves=found.states,
        log_probs=found.log_probs,
        scores=found.scores,
        score_kind=score_kind,
        spent=Spent.on_nodes(model, histories, nodes),
        tree=tree,
    )


def refuse_few_candidates(num_beams: int, candidates: int, *, because: str) -> None:
    """Raises a `ValueError` where a search would keep more prefixes than it looks at.

    Args:
        num_beams: prefixes that are kept per level.
        candidates: prefixes that are looked at per level.
        because: says what chooses among the candidates.
    """
    if num_beams < 1:
        raise ValueError(f"num_beams must be at least 1, got {num_beams}.")
    if candidates < num_beams:
        raise ValueError(
            f"candidates must be at least num_beams, got {candidates} for {num_beams}; {because}."
        )


def _of_kept(
    numbers: Int[Tensor, "users beams pairs"], kept: Prefixes
) -> Int[Tensor, "users kept"]:
    """The numbers of the pairs that are kept."""
    return numbers.flatten(1).gather(1, kept.beams * numbers.shape[2] + kept.codes)


def _open_columns(is_node: Bool[Tensor, "users width"]) -> Int[Tensor, "users open"]:
    """The columns of the nodes, in their order, then some others; as many as a user has nodes."""
    width = max(1, int(is_node.sum(dim=1).max()))
    return (~is_node).byte().argsort(dim=1, stable=True)[:, :width]


def _with_waiting(
    totals: Float[Tensor, "users beams codes"], beams: Tree, space: CodeSpace
) -> Float[Tensor, "users beams codes"]:
    """The log-probabilities of continuations; a complete state goes on as itself, by action 0."""
    itself = torch.full_like(totals, -torch.inf)
    itself[..., 0] = beams.log_probs
    return torch.where(space.is_complete(beams.states)[..., None], itself, totals)


def _each_state_once(
    totals: Float[Tensor, "users beams codes"],
    states: Int[Tensor, "users beams"],
    space: CodeSpace,
    depth: int,
) -> Float[Tensor, "users beams codes"]:
    """The log-probabilities of continuations, -inf at all ways to a state but the likeliest."""
    actions, longer = space.children(states, depth - 1)
    if space.ends_early:
        actions, longer = _with_itself(actions, longer, states, space)
    users, beams, most = actions.shape
    at = actions.clamp(min=0)
    own = totals.gather(2, at).masked_fill_(actions == NO_CODE, -torch.inf).flatten(1)
    meant = space.canonical(longer.flatten(1))
    # Two stable sorts: equal states stand together, and the likeliest way to each comes first.
    by_likelihood = own.argsort(dim=1, descending=True, stable=True)
    order = by_likelihood.gather(1, meant.gather(1, by_likelihood).argsort(dim=1, stable=True))
    ordered = meant.gather(1, order)
    is_repeated = torch.zeros_like(ordered, dtype=torch.bool)
    is_repeated[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    is_repeated = torch.zeros_like(is_repeated).scatter_(1, order, is_repeated)
    own = own.masked_fill_(is_repeated, -torch.inf).view(users, beams, most)
    # Padding has action 0 here; `amax` keeps what action 0 itself has.
    return torch.full_like(totals, -torch.inf).scatter_reduce_(2, at, own, "amax")


def _with_itself(
    actions: Int[Tensor, "users beams children"],
    longer: Int[Tensor, "users beams children"],
    states: Int[Tensor, "users beams"],
    space: CodeSpace,
) -> tuple[Int[Tensor, "users beams some"], Int[Tensor, "users beams some"]]:
    """The children of states; a complete state is its own child, by action 0."""
    if not actions.shape[2]:
        actions = torch.full_like(states, NO_CODE)[..., None]
        longer = torch.full_like(states, NO_STATE)[..., None]
    waits = space.is_complete(states)
    actions, longer = actions.clone(), longer.clone()
    actions[..., 0].masked_fill_(waits, 0)
    longer[..., 0] = torch.where(waits, states, longer[..., 0])
    return actions, longer
