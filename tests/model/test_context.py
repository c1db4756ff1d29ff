import pytest
import torch

from sidestep.model.context import NO_SLOT, KeyValues, root_context


def context(prompt_lengths, prompt_width, *, capacity=4, num_levels=2):
    empty = torch.zeros(len(prompt_lengths), 1, prompt_width, 2)
    return root_context(
        layers=[KeyValues(keys=empty, values=empty)],
        prompt_lengths=torch.tensor(prompt_lengths),
        num_levels=num_levels,
        capacity=capacity,
    )


def rows(*values):
    return torch.tensor(values)


def test_a_node_knows_its_ancestors_by_depth_even_if_its_parent_stands_later_in_the_call():
    # Column 0 takes slot 1 and is the child of slot 2, which column 1 takes.
    placed = context([1], 1).placed(rows([2, 0]), rows([2, 1]), rows([True, True]))
    expected = [[0, NO_SLOT, NO_SLOT], [0, 2, 1], [0, 2, NO_SLOT]]
    assert placed.ancestor_slots.tolist() == [expected]
    placed = placed.placed(rows([2]), rows([2]), rows([True]))
    assert placed.ancestor_slots[0, 3].tolist() == [0, 2, 3]
    assert (placed.num_nodes, placed.next_column) == (3, 4)


def test_a_node_attends_to_its_visible_prompt_to_its_ancestors_and_to_itself():
    placed = context([3, 1], 3).placed(
        rows([0, 1], [0, 0]),
        rows([1, 2], [1, 1]),
        rows([True, True], [True, True]),
    )
    # Columns: three of the prompt, then slots 1 and 2.
    assert placed.node_mask(2, None).int().tolist() == [
        [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]],
        [[1, 0, 0, 1, 0], [1, 0, 0, 0, 1]],
    ]
    assert placed.node_mask(1, rows([2], [1])).int().tolist() == [
        [[1, 1, 0, 1, 1]],
        [[1, 0, 0, 0, 1]],
    ]


def test_without_grad_columns_are_written_in_place_and_with_it_they_are_not():
    column = torch.ones(1, 1, 1, 2)
    with torch.no_grad():
        layer = context([1], 1).layers[0]
        kept, keys, _ = layer.appended(1, column, column)
        assert kept is layer
        assert layer.keys.shape[2] == 5
        assert keys.data_ptr() == layer.keys.data_ptr()
    kept, keys, _ = layer.appended(2, 2 * column, column)
    assert keys[0, 0, :, 0].tolist() == [0, 1, 2]
    assert keys.data_ptr() != layer.keys.data_ptr()


@torch.no_grad()
def test_columns_that_find_no_room_move_to_a_buffer_half_as_large_again():
    column = torch.ones(1, 1, 1, 2)
    layer = context([1], 1, capacity=3).layers[0]
    for start in range(1, 4):
        layer, _, _ = layer.appended(start, column, column)
    assert layer.keys.shape[2] == 4
    moved, keys, values = layer.appended(4, 2 * column, 3 * column)
    assert moved.keys.shape[2] == moved.values.shape[2] == 6
    assert keys[0, 0, 1:, 0].tolist() == [1, 1, 1, 2]
    assert values[0, 0, 1:, 0].tolist() == [1, 1, 1, 3]
    assert moved.appended(5, column, column)[0] is moved


@pytest.mark.parametrize(("parents", "depths"), [([0], [3]), ([0], [0]), ([2], [1]), ([-1], [1])])
def test_a_node_below_the_last_level_or_without_a_parent_is_refused(parents, depths):
    with pytest.raises(ValueError, match="depth from 1 to 2 and a parent in one of the 2 slots"):
        context([1], 1).placed(rows(parents), rows(depths), rows([True]))
    # Padding may hold any values.
    assert context([1], 1).placed(rows(parents), rows(depths), rows([False])).num_nodes == 1


@pytest.mark.parametrize("depth", [0, 3])
def test_a_depth_that_is_told_must_be_that_of_a_level(depth):
    with pytest.raises(ValueError, match="depth from 1 to 2"):
        context([1], 1).placed(rows([0]), rows([depth]), rows([True]), depth)
