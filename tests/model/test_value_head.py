"""The value head: what it may see; a search reads the same value that the loss trains."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.model.config import TransformerConfig, ValueHeadConfig
from sidestep.model.heads import HeadedModel
from sidestep.model.transformer import Transformer
from sidestep.model.value_head import ValueHead
from sidestep.padding import NO_ITEM

from .batches import history_of
from .counted_flops import counted_flops

IDS = torch.tensor([[a, b, c] for a in range(3) for b in range(3) for c in range(3)])
HISTORIES = history_of(torch.tensor([[1, 5, 7], [3, NO_ITEM, NO_ITEM]]))


def valued(**options) -> HeadedModel:
    torch.manual_seed(0)
    shape = TransformerConfig(dim=8, num_layers=1, num_heads=2, dropout=0.0)
    backbone = Transformer(shape, IDS, (3, 3, 3))
    torch.nn.init.normal_(backbone.code_embedding.weight)
    head = ValueHead(ValueHeadConfig(num_heads=2), dim=8, num_levels=3)
    for weights in head.parameters():
        torch.nn.init.normal_(weights, std=0.5)
    return HeadedModel(backbone.double().eval(), head.double(), **options)


def chain(model, histories, codes, **options):
    """Values of the root and of a path, one level at a time."""
    step, context = model.encode(histories, capacity=len(codes))
    values = [step.value]
    for level, code in enumerate(codes):
        rows = (len(histories.lengths), 1)
        step, context = model.extend(
            context,
            torch.full(rows, code),
            torch.full(rows, level),
            torch.full(rows, level + 1),
            is_node=torch.ones(rows, dtype=torch.bool),
        )
        values.append(step.value)
    return torch.cat(values, dim=1)


@settings(max_examples=20)
@given(st.lists(st.integers(0, 2), min_size=3, max_size=3))
@torch.no_grad()
def test_a_path_in_one_pass_equals_level_by_level_and_each_user_alone(codes):
    model = valued()
    by_level = chain(model, HISTORIES, codes)
    step, context = model.encode(HISTORIES, capacity=3)
    rows = torch.tensor([codes, codes])
    together, context = model.extend(
        context,
        rows,
        torch.arange(3).expand(2, 3),
        torch.arange(1, 4).expand(2, 3),
        is_node=torch.ones(2, 3, dtype=torch.bool),
    )
    torch.testing.assert_close(torch.cat([step.value, together.value], dim=1), by_level)
    alone = chain(model, history_of(torch.tensor([[3]])), codes)
    torch.testing.assert_close(alone[0], by_level[1])


@torch.no_grad()
def test_values_do_not_change_when_later_codes_do_and_siblings_differ():
    model = valued()
    first, second = chain(model, HISTORIES, [1, 2, 0]), chain(model, HISTORIES, [1, 0, 0])
    torch.testing.assert_close(first[:, :2], second[:, :2])
    # Siblings share all ancestors; only their own state differs.
    assert ((first[:, 2] - second[:, 2]).abs() > 1e-4).all()
    assert ((first[:, 3] - second[:, 3]).abs() > 1e-4).all()


@torch.no_grad()
def test_a_value_knows_its_ancestors_beyond_the_state_of_its_own():
    head = valued().value
    root, _ = valued().backbone.encode(HISTORIES, capacity=0)
    first, second = root.hidden * 2, root.hidden.flip(2)
    # Two children of the root, and below each a node of one and the same state.
    values = head.tree_values(
        torch.cat([root.hidden, first, second, root.hidden, root.hidden], dim=1),
        torch.tensor([[0, 0, 1, 2]] * 2),
        torch.tensor([[1, 1, 2, 2]] * 2),
        is_node=torch.ones(2, 4, dtype=torch.bool),
    )
    below = values[:, 3], values[:, 4]
    assert ((below[0] - below[1]).abs() > 1e-6).all()


def test_values_move_the_backbone_only_where_that_is_wanted():
    for detach in (True, False):
        model = valued(detach_backbone=detach)
        chain(model, HISTORIES, [0, 1, 2]).sum().backward()
        moved = [weights.grad is not None for weights in model.backbone.parameters()]
        assert any(moved) != detach
        assert all(weights.grad is not None for weights in model.value.parameters())


def test_the_flops_of_a_path_are_those_that_pytorch_counts():
    model, empty = valued(), history_of(torch.full((1, 0), NO_ITEM))
    counted, (_, context) = counted_flops(lambda: model.encode(empty, capacity=3))
    told = model.flops_by_depth(empty)
    assert told[:, 0].tolist() == [counted]
    assert told[:, 0] > model.backbone.flops_by_depth(empty)[:, 0]
    for depth in range(1, 4):
        node = torch.tensor([[depth]])
        counted, (_, context) = counted_flops(
            lambda given=context, at=node: model.extend(given, at * 0, at - 1, at, is_node=at > 0)
        )
        assert told[:, depth].tolist() == [counted]
    model.backbone.flops_by_depth = lambda histories: None
    assert model.flops_by_depth(empty) is None


@torch.no_grad()
def test_under_autocast_values_keep_their_digits():
    """Values equal those of the same states without autocast. Only the states are rounded."""
    model = valued()
    backbone, head = model.backbone.float(), model.value.float()
    codes = torch.tensor([[0, 1, 2]] * 2)
    parents, depths = torch.zeros_like(codes), torch.ones_like(codes)
    with torch.autocast("cpu", torch.bfloat16):
        root, context = HeadedModel(backbone, head).encode(HISTORIES, capacity=3)
        step, _ = HeadedModel(backbone, head).extend(
            context, codes, parents, depths, is_node=depths > 0
        )
    hidden = torch.cat([root.hidden, step.hidden], dim=1)
    values = head.tree_values(hidden, parents, depths, is_node=depths > 0)
    torch.testing.assert_close(torch.cat([root.value, step.value], dim=1), values)


@torch.no_grad()
def test_backbone_and_head_share_one_context_with_room_for_the_capacity():
    model = valued()
    _, context = model.encode(HISTORIES, capacity=5)
    prompt = context.prompt_width
    assert context.layers[0].keys.shape[2] == prompt + 5
    assert context.head.keys.shape[2] == 1 + 5
    # What is written within the capacity moves nothing.
    codes = torch.tensor([[0, 1]] * 2)
    _, longer = model.extend(
        context, codes, codes * 0, codes * 0 + 1, is_node=torch.ones(2, 2, dtype=torch.bool)
    )
    assert longer.head.keys.data_ptr() == context.head.keys.data_ptr()
    assert longer.num_nodes == 2
