"""Ways to sets of codes: the steps by which a policy reaches each of some items.

A policy that chooses its next codebook has one way to each set: the way that the policy itself
would go. The exhaustive search reads the probability of each way, and a training reads its steps.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.catalog.set_space import SetSpace
from sidestep.catalog.trie import NO_STATE
from sidestep.padding import NO_ITEM
from sidestep.search.policy import Normaliser, code_log_probs
from sidestep.step import ROOT_SLOT, Context, StepModel, StepOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """The way to each of some leaves.

    states: after each step. After its last step, a way stays at its leaf. Arbitrary at padding.
    actions: of the steps; some action where there is no step.
    is_step: False after the last step of a way, and at padding.
    """

    states: Int[Tensor, "users leaves steps"]
    actions: Int[Tensor, "users leaves steps"]
    is_step: Bool[Tensor, "users leaves steps"]

    def first(self, number: int) -> "Ways":
        """The ways to the first so many leaves."""
        return Ways(
            states=self.states[:, :number],
            actions=self.actions[:, :number],
            is_step=self.is_step[:, :number],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkedWays:
    """Ways that a model was shown, with what the model said of them.

    ways: to each item.
    log_probs: of the states after each step; -inf from the first step on that leads to no item in
        scope. Such a way ends before this step. Arbitrary at padding.
    num_nodes: the number of states of each depth that the model was shown; 0 at the root, which the
        caller showed.
    """

    ways: Ways
    log_probs: Float[Tensor, "users items steps"]
    num_nodes: Int[Tensor, "users depths"]


@torch.no_grad()
def walked_ways(
    model: StepModel[Any],
    start: StepOutput,
    context: Context,
    items: Int[Tensor, "users items"],
    space: SetSpace,
    *,
    normaliser: Normaliser = "legal",
    visible: Int[Tensor, "users items"] | None = None,
) -> WalkedWays:
    """The ways to the sets of some items that a policy itself would go, without gradient.

    The model is shown the states of every way, one code after the other. At each state the policy
    chooses the codebook, and the item has one code in this codebook. Ways that begin at one root
    share their states: a state costs one token, and is one row of the model's output. So equal
    states choose one codebook, however a batch is rounded.

    Args:
        model: the policy; it chooses codebooks, see `sidestep.step.CodebookChoice`.
        start: its output where the ways begin: one root for all items of a user, or one root per
            item.
        context: of the encoded histories.
        items: `NO_ITEM` is padding.
        space: of the items that may be returned. In a shortened space, a way ends as soon as one
            item is left.
        normaliser: of the code probabilities.
        visible: see `StepModel.extend`; of each item, where each item has a root of its own.
    """
    users, num_steps, device = len(items), space.num_steps, items.device
    is_shared = visible is None
    own = space.actions_of(items.clamp(min=0).flatten()).view(*items.shape, -1)
    states = space.root(users).expand(items.shape).masked_fill(items == NO_ITEM, NO_STATE)
    totals = torch.zeros(items.shape, device=device)
    num_nodes = torch.zeros(users, num_steps + 1, dtype=torch.long, device=device)
    nodes = space.root(users) if is_shared else states
    columns = torch.arange(items.shape[1], device=device).expand(items.shape)
    place = torch.zeros_like(columns) if is_shared else columns  # the node of each item
    first_slot, step, way = ROOT_SLOT + 1, start, list[tuple[Tensor, Tensor, Tensor, Tensor]]()
    slots = torch.full_like(nodes, ROOT_SLOT)
    for depth in range(1, num_steps + 1):
        legal = space.legal(nodes)
        at = place[..., None] * space.num_actions + own
        chooses = step.followed(legal).flatten(1).gather(1, at.flatten(1)).view(own.shape)
        logs = code_log_probs(step, legal, normaliser).flatten(1)
        is_open = (states != NO_STATE) & ~space.is_complete(states)
        chooses &= is_open[..., None]
        is_step, actions = chooses.any(dim=2), own.masked_fill(~chooses, 0).amax(dim=2)
        gained = logs.gather(1, place * space.num_actions + actions)
        totals = totals + torch.where(is_step, gained, 0.0).masked_fill(
            is_open & ~is_step, -torch.inf
        )
        longer = space.child(states, actions)
        # A way without an item in scope ends.
        states = torch.where(is_step, longer, states.masked_fill(is_open, NO_STATE))
        way.append((states, actions, is_step, totals))
        is_open = is_step & ~space.is_complete(states)
        if depth == num_steps or not bool(is_open.any()):
            break
        parents = slots.gather(1, place)
        if is_shared:
            place, first, is_node = _shared(states.masked_fill(~is_open, NO_STATE))
        else:
            place, first, is_node = columns, columns, is_open
        nodes = states.gather(1, first).masked_fill(~is_node, NO_STATE)
        step, context = model.extend(
            context,
            actions.gather(1, first),
            parents.gather(1, first),
            torch.full_like(nodes, depth),
            is_node=is_node,
            visible=visible,
            depth=depth,
        )
        num_nodes[:, depth] = is_node.sum(dim=1)
        slots = first_slot + torch.arange(nodes.shape[1], device=device).expand(nodes.shape)
        first_slot += nodes.shape[1]
    done = (states, torch.zeros_like(actions), torch.zeros_like(is_step), totals)
    way += [done] * (num_steps - len(way))
    states, actions, is_step, totals = (torch.stack(each, dim=2) for each in zip(*way, strict=True))
    return WalkedWays(
        ways=Ways(states=states, actions=actions, is_step=is_step),
        log_probs=totals,
        num_nodes=num_nodes,
    )


def _shared(
    states: Int[Tensor, "users items"],
) -> tuple[
    Int[Tensor, "users items"], Int[Tensor, "users distinct"], Bool[Tensor, "users distinct"]
]:
    """Equal states as one: the number of the state of each item, and an item of each number.

    `NO_STATE` is padding, whose number is 0. The mask says which numbers each user has.
    """
    ordered, order = states.sort(dim=1, stable=True)
    is_first = ordered != NO_STATE
    is_first[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
    ranks = (is_first.cumsum(dim=1) - 1).clamp(min=0)
    place = torch.zeros_like(ranks).scatter_(1, order, ranks)
    width = max(1, int(is_first.sum(dim=1).max()))
    columns = (~is_first).byte().argsort(dim=1, stable=True)[:, :width]
    return place, order.gather(1, columns), is_first.gather(1, columns)
