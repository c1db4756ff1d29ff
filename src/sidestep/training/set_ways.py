"""Ways to items over sets of codes: the codes of an item in the order that a network chooses.

A network over sets decides for each state which codebook is next (`sidestep.step.CodebookChoice`),
so one way leads to each item, and the way depends on the history.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from sidestep.catalog.set_space import SetSpace
from sidestep.model.code_set_transformer import CodeSetTransformer
from sidestep.padding import NO_ITEM
from sidestep.step import ROOT_SLOT, HistoryBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """Ways from the empty set to some items of each user.

    A state that is complete stays as it is until the last step.

    states: after each number of codes, from none to all; whatever at `NO_ITEM`.
    actions: the code of each step; some code at `NO_ITEM` and where the state was complete before.
    """

    states: Int[Tensor, "users items depths"]
    actions: Int[Tensor, "users items steps"]


@torch.no_grad()
def chosen_ways(
    model: CodeSetTransformer,
    histories: HistoryBatch,
    items: Int[Tensor, "users items"],
    space: SetSpace,
    *,
    after: Int[Tensor, "users items"] | None = None,
) -> Ways:
    """The way to each item that the network itself would take, code by code.

    Args:
        model: chooses the codebooks; without dropout, as in a search.
        histories: of the users.
        items: in scope; `NO_ITEM` is padding.
        space: the shortened one ends a way as soon as one item is left, see `ShortensWays`.
        after: how many items of the history each item follows; None: all of them.
    """
    users, width = items.shape
    root, context = model.encode(histories, capacity=width * (space.num_steps - 1))
    visible = None
    if after is None:
        hidden = root.hidden.expand(-1, width, -1)
    else:
        of_history = context.history_states
        assert of_history is not None, "a network over sets reads whole items"
        hidden = of_history.states.take_along_dim(after[..., None], dim=1)
        visible = after + 1  # the start token stands before the items
    step = model.step_at(hidden)
    is_item = items != NO_ITEM
    own = space.actions_of(items.clamp(min=0).flatten()).view(users, width, -1)
    state = space.root(users).expand(users, width)
    parents = torch.full_like(items, ROOT_SLOT)
    states, actions = [state], []
    for depth in range(1, space.num_steps + 1):
        waits = space.is_complete(state)
        open_codes = step.followed(space.legal(state))
        action = own.gather(2, open_codes.gather(2, own).byte().argmax(dim=2, keepdim=True))[..., 0]
        state = torch.where(waits, state, space.child(state, action))
        states.append(state)
        actions.append(action)
        if depth < space.num_steps:
            step, context = model.extend(
                context,
                action,
                parents,
                torch.full_like(action, depth),
                is_node=is_item & ~waits,
                visible=visible,
                depth=depth,
            )
            slots = torch.arange(1 + (depth - 1) * width, 1 + depth * width, device=items.device)
            parents = slots.expand(users, width)
    return Ways(states=torch.stack(states, dim=2), actions=torch.stack(actions, dim=2))
