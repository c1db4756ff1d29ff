"""The laws every model over semantic IDs must pass, whatever its backbone.

A test module makes a subclass per model, whose `build` makes a tiny model.
"""

from abc import ABC, abstractmethod
from contextlib import nullcontext
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from sidestep.model.context import TreeContext
from sidestep.model.flops import attention_flops
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.padding import NO_ITEM
from sidestep.step import ROOT_SLOT, HistoryBatch, StepOutput, reads_prefixes
from tests.model.batches import history_of, scores_by_rows
from tests.model.counted_flops import counted_flops
from tests.waiting import NothingWaits

CODEBOOK_SIZES = (4, 3, 5)
SEMANTIC_IDS = torch.tensor([[0, 0, 0], [0, 2, 4], [3, 1, 2], [1, 0, 3], [2, 2, 1], [3, 1, 4]])
HISTORIES = history_of(
    torch.tensor([[2, 0, 5, 1], [4, NO_ITEM, NO_ITEM, NO_ITEM], [NO_ITEM] * 4, [1, 1, 3, NO_ITEM]])
)
"""Four users; one has no history."""

NUM_USERS, NUM_LEVELS = 4, len(CODEBOOK_SIZES)

# The laws are inherited, so that one law runs on instances of many classes.
laws = settings(
    max_examples=5, derandomize=True, suppress_health_check=[HealthCheck.differing_executors]
)


@dataclass(frozen=True)
class Tree:
    """Columns of one call of `extend`, for all users."""

    codes: Tensor
    parents: Tensor
    depths: Tensor
    is_node: Tensor

    def path(self, user: int, column: int) -> list[int]:
        """The codes from the root to a node."""
        slot, path = column + 1, []
        while slot != ROOT_SLOT:
            path.append(int(self.codes[user, slot - 1]))
            slot = int(self.parents[user, slot - 1])
        return path[::-1]

    def nodes(self) -> list[tuple[int, int]]:
        """(user, column) of every node."""
        return [(int(user), int(column)) for user, column in self.is_node.nonzero()]


@st.composite
def trees(draw: st.DrawFn, width: int = 7) -> Tree:
    """Random trees with columns in any order, a parent possibly after its child, and padding."""
    codes = torch.zeros(NUM_USERS, width, dtype=torch.long)
    parents, depths = torch.zeros_like(codes), torch.full_like(codes, 1)
    is_node = torch.zeros_like(codes, dtype=torch.bool)
    for user in range(NUM_USERS):
        order = draw(st.permutations(range(width)))
        inner = [(ROOT_SLOT, 0)]  # slots that may have children, with their depths
        for column in order[: draw(st.integers(0, width))]:
            parent, depth = draw(st.sampled_from(inner))
            codes[user, column] = draw(st.integers(0, CODEBOOK_SIZES[depth] - 1))
            parents[user, column], depths[user, column] = parent, depth + 1
            is_node[user, column] = True
            if depth + 1 < NUM_LEVELS:
                inner.append((column + 1, depth + 1))
    # Values at padding must not matter.
    noise = draw(st.integers(0, 2))
    codes[~is_node] = noise
    depths[~is_node] = noise
    return Tree(codes, parents, depths, is_node)


def extend(model: SemanticIdModel, context: TreeContext, tree: Tree, **more: Tensor | int):
    return model.extend(
        context, tree.codes, tree.parents, tree.depths, is_node=tree.is_node, **more
    )


def users_of(histories: HistoryBatch, users: list[int]) -> HistoryBatch:
    return HistoryBatch(items=histories.items[users], lengths=histories.lengths[users])


def trimmed(histories: HistoryBatch) -> HistoryBatch:
    """Removes columns that are padding for all users."""
    return HistoryBatch(
        items=histories.items[:, : int(histories.lengths.max())], lengths=histories.lengths
    )


def along(model: SemanticIdModel, histories: HistoryBatch, paths: list[list[int]]) -> StepOutput:
    """Output at the last node of each path, scored alone: one row and one chain per path."""
    step, context = model.encode(histories, capacity=NUM_LEVELS)
    logits, hidden = [step.logits], [step.hidden]
    for level in range(max(map(len, paths))):
        codes = torch.tensor([[path[level] if level < len(path) else 0] for path in paths])
        parents = torch.full_like(codes, level)
        is_node = torch.tensor([[level < len(path)] for path in paths])
        step, context = model.extend(context, codes, parents, parents + 1, is_node=is_node)
        logits.append(step.logits)
        hidden.append(step.hidden)
    rows, depths = torch.arange(len(paths)), torch.tensor([len(path) for path in paths])
    return StepOutput(
        logits=torch.cat(logits, dim=1)[rows, depths][:, None],
        hidden=torch.cat(hidden, dim=1)[rows, depths][:, None],
    )


def each_alone(model: SemanticIdModel, histories: HistoryBatch, tree: Tree) -> StepOutput:
    """Output at every node of a tree, each scored alone, in the order of `Tree.nodes`."""
    nodes = tree.nodes()
    rows = users_of(histories, [user for user, _ in nodes])
    return along(model, rows, [tree.path(*node) for node in nodes])


class ModelContract(ABC):
    """Subclass as `Test…` and build a tiny model of `SEMANTIC_IDS` and `CODEBOOK_SIZES`."""

    sees_part_of_prompt = True
    """Whether nodes may see only a part of the prompt, by `visible`."""

    tokens_per_item = NUM_LEVELS
    """Number of tokens of the prompt per item."""

    tokens_before = 1
    """Number of tokens of the prompt before the first item."""

    tolerance = 1e-9
    """Models run in float64, so that larger differences are errors, not rounding."""

    @abstractmethod
    def build(self) -> SemanticIdModel:
        """A new model with fixed random weights."""

    def actions_of(self, item: int) -> list[int]:
        """The actions from the root to an item."""
        return SEMANTIC_IDS[item].tolist()

    looks_items_up = False
    """Whether a node's work depends on the items that are left, whose number is asked for."""

    _built: SemanticIdModel | None = None

    @property
    def model(self) -> SemanticIdModel:
        built = vars(type(self)).get("_built")  # not that of a class it inherits from
        if built is None:
            built = type(self)._built = self.build().double().eval()
        return built

    def assert_same(self, actual: Tensor, expected: Tensor) -> None:
        torch.testing.assert_close(actual, expected, atol=self.tolerance, rtol=self.tolerance)

    @laws
    @given(trees())
    @torch.no_grad()
    def test_a_tree_in_one_call_scores_each_node_as_if_alone(self, tree):
        _, context = self.model.encode(HISTORIES, capacity=7)
        step, _ = extend(self.model, context, tree)
        if tree.nodes():
            alone = each_alone(self.model, HISTORIES, tree)
            self.assert_same(step.hidden[tree.is_node], alone.hidden[:, 0])
            self.assert_same(step.logits[tree.is_node], alone.logits[:, 0])

    @laws
    @given(trees())
    @torch.no_grad()
    def test_a_tree_in_one_call_equals_level_by_level(self, tree):
        _, context = self.model.encode(HISTORIES, capacity=40)
        step, _ = extend(self.model, context, tree)
        expected = step.hidden.clone()
        _, context = self.model.encode(HISTORIES, capacity=40)
        slots = torch.zeros(NUM_USERS, 8, dtype=torch.long)  # at c + 1, the slot of column c
        for depth in range(1, NUM_LEVELS + 1):
            here = tree.is_node & (tree.depths == depth)
            parents = slots.gather(1, tree.parents)
            slots[:, 1:][here] = context.num_nodes + 1 + torch.arange(7).expand(4, 7)[here]
            # All columns of other depths are padding of this call.
            step, context = extend(
                self.model, context, Tree(tree.codes, parents, tree.depths, here)
            )
            self.assert_same(step.hidden[here], expected[here])

    @laws
    @given(trees())
    @torch.no_grad()
    def test_a_depth_that_is_told_changes_nothing_and_spares_the_wait_for_the_device(self, tree):
        _, asking = self.model.encode(HISTORIES, capacity=21)
        _, told = self.model.encode(HISTORIES, capacity=21)
        slots = torch.zeros(NUM_USERS, 8, dtype=torch.long)  # at c + 1, the slot of column c
        for depth in range(1, NUM_LEVELS + 1):
            here = tree.is_node & (tree.depths == depth)
            parents = slots.gather(1, tree.parents)
            slots[:, 1:][here] = told.num_nodes + 1 + torch.arange(7).expand(4, 7)[here]
            nodes = Tree(tree.codes, parents, torch.full_like(tree.depths, depth), here)
            expected, asking = extend(self.model, asking, nodes)
            with nullcontext() if self.looks_items_up else NothingWaits():
                step, told = extend(self.model, told, nodes, depth=depth)
            assert step.logits[here].equal(expected.logits[here])
            assert step.hidden[here].equal(expected.hidden[here])

    @pytest.mark.parametrize("users", [[0], [1], [2], [3], [3, 2, 1, 0], [2, 0]])
    @torch.no_grad()
    def test_a_user_alone_equals_the_user_in_any_batch(self, users):
        tree = FULL_TREE
        root, context = self.model.encode(HISTORIES, capacity=7)
        step, _ = extend(self.model, context, tree)
        part = Tree(*(x[users] for x in (tree.codes, tree.parents, tree.depths, tree.is_node)))
        batch = trimmed(users_of(HISTORIES, users))
        other_root, context = self.model.encode(batch, capacity=7)
        other, _ = extend(self.model, context, part)
        self.assert_same(other_root.logits, root.logits[users])
        self.assert_same(other_root.hidden, root.hidden[users])
        self.assert_same(other.logits[part.is_node], step.logits[users][part.is_node])

    @torch.no_grad()
    def test_next_item_states_equal_encode_and_extend_at_every_position(self):
        states = self.model.next_item_states(HISTORIES)
        assert states.shape[:3] == (NUM_USERS, 4, NUM_LEVELS)
        places = (HISTORIES.items != NO_ITEM).nonzero().tolist()
        before = torch.stack(
            [
                HISTORIES.items[user].masked_fill(torch.arange(4) >= position, NO_ITEM)
                for user, position in places
            ]
        )
        at_targets = torch.stack([states[user, position] for user, position in places])
        targets = torch.stack([HISTORIES.items[user, position] for user, position in places])
        logits = self.model.level_logits(at_targets, targets, history_of(before))
        for level in range(NUM_LEVELS):
            paths = [
                self.actions_of(int(HISTORIES.items[user, position]))[:level]
                for user, position in places
            ]
            alone = along(self.model, history_of(before), paths)
            for row, (user, position) in enumerate(places):
                self.assert_same(states[user, position, level], alone.hidden[row, 0])
                self.assert_same(logits[row, level], alone.logits[row, 0])

    def test_items_with_weights_are_read_in_training_as_in_use_or_refused(self):
        weights = torch.linspace(0.1, 1.2, 16).view(4, 4)
        weighted = replace(HISTORIES, weights=weights)
        if not self.model.reader.reads_weights:
            for read in (self.model.next_item_states, lambda h: self.model.encode(h, capacity=1)):
                with pytest.raises(ValueError, match="this network reads items as codes"):
                    read(weighted)
            return
        states = self.model.next_item_states(weighted)
        plain = self.model.next_item_states(HISTORIES)
        ones = replace(HISTORIES, weights=torch.ones(4, 4))
        assert self.model.next_item_states(ones).equal(plain)
        for position in range(4):
            before = HistoryBatch(
                items=HISTORIES.items[:1, :position],
                lengths=torch.tensor([position]),
                weights=weights[:1, :position],
            )
            root, _ = self.model.encode(before, capacity=1)
            self.assert_same(root.hidden[0, 0], states[0, position, 0])
        assert not torch.allclose(states[0, 1:], plain[0, 1:])

    @laws
    @given(trees())
    def test_gradients_equal_those_of_candidates_scored_on_their_own(self, tree):
        if not tree.nodes():
            return
        _, context = self.model.encode(HISTORIES, capacity=7)
        step, _ = extend(self.model, context, tree)
        together = self._gradients(step.hidden[tree.is_node], step.logits[tree.is_node])
        alone = each_alone(self.model, HISTORIES, tree)
        apart = self._gradients(alone.hidden[:, 0], alone.logits[:, 0])
        assert any(gradient.any() for gradient in apart.values())
        for name, gradient in apart.items():
            self.assert_same(together[name], gradient)

    def _gradients(self, hidden: Tensor, logits: Tensor) -> dict[str, Tensor]:
        """Gradients of a loss that weights every node and every output differently."""
        self.model.zero_grad()
        finite = logits.masked_fill(torch.isneginf(logits), 0.0)
        loss = sum(
            (outputs * torch.linspace(-1, 1, outputs.numel()).view_as(outputs)).sum()
            for outputs in (hidden, finite)
        )
        loss.backward()
        return {
            name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
            for name, parameter in self.model.named_parameters()
        }

    def test_grad_does_not_change_what_is_computed(self):
        step, context = self.model.encode(HISTORIES, capacity=14)
        first, _ = extend(self.model, context, FULL_TREE)
        with torch.no_grad():
            unrecorded, _ = extend(self.model, context, FULL_TREE)  # without capacity for it
            root, fresh = self.model.encode(HISTORIES, capacity=14)
            expected, _ = extend(self.model, fresh, FULL_TREE)
        recorded, _ = extend(self.model, fresh, FULL_TREE)
        self.assert_same(step.hidden, root.hidden)
        for other in (first, unrecorded, recorded):
            self.assert_same(other.hidden, expected.hidden)

    @torch.no_grad()
    def test_under_autocast_logits_are_float32_from_the_states_on(self):
        model = self.build().eval()
        with torch.autocast("cpu", torch.bfloat16):
            root, context = model.encode(HISTORIES, capacity=14)
            step, _ = extend(model, context, FULL_TREE)
        for output, level in ((root, 0), (step, 1)):
            at = FULL_TREE.depths == 1 if level else torch.ones_like(root.hidden[..., 0]) > 0
            assert output.logits.dtype == torch.float32
            start = sum(CODEBOOK_SIZES[:level])
            size = CODEBOOK_SIZES[level]
            if level and model.siblings is not None and model.siblings.widest[level]:
                continue  # items choose the code
            expected = scores_by_rows(model, output.hidden[at].float())[:, start : start + size]
            torch.testing.assert_close(output.logits[at][:, :size], expected)

    def test_an_older_context_may_be_extended_again(self):
        _, context = self.model.encode(HISTORIES, capacity=14)
        expected, after = extend(self.model, context, FULL_TREE)
        extend(self.model, after, FULL_TREE)
        changed = Tree(
            (FULL_TREE.codes + 1) % 3, FULL_TREE.parents, FULL_TREE.depths, FULL_TREE.is_node
        )
        extend(self.model, context, changed)
        again, after = extend(self.model, context, FULL_TREE)
        self.assert_same(again.hidden, expected.hidden)
        assert after.num_nodes == 7

    @torch.no_grad()
    def test_the_flops_of_a_path_are_those_that_pytorch_counts_but_for_masked_columns(self):
        model, empty = self.model, trimmed(users_of(HISTORIES, [2]))
        told = model.flops_by_depth(empty)
        assert told.shape == (1, 1 + NUM_LEVELS)
        flops, (_, context) = counted_flops(lambda: model.encode(empty, capacity=3))
        assert told[:, 0].tolist() == [flops - self.masked_flops(self.tokens_before)]
        # Node by node, so that a node sees all columns.
        for depth, code in enumerate(SEMANTIC_IDS[2].tolist(), start=1):
            node = torch.tensor([[depth]])
            arguments = (context, torch.full_like(node, code), node - 1, node)
            flops, (_, context) = counted_flops(
                lambda given=arguments: model.extend(*given, is_node=given[3] > 0)
            )
            self.assert_flops(int(told[0, depth]), flops)

    @torch.no_grad()
    def test_the_flops_of_a_prompt_are_those_that_pytorch_counts_but_for_masked_columns(self):
        model, one = self.model, users_of(HISTORIES, [0])
        counted, _ = counted_flops(lambda: model.encode(one, capacity=0))
        width = self.tokens_before + 4 * self.tokens_per_item
        assert model.flops_by_depth(one)[:, 0].tolist() == [counted - self.masked_flops(width)]

    @torch.no_grad()
    def test_the_flops_of_a_node_after_a_history_are_those_that_pytorch_counts(self):
        model, one = self.model, users_of(HISTORIES, [0])
        told = model.flops_by_depth(one)
        _, context = model.encode(one, capacity=NUM_LEVELS)
        for depth in range(1, NUM_LEVELS + 1):
            node = torch.tensor([[depth]])
            counted, (_, context) = counted_flops(
                lambda given=context, at=node: model.extend(
                    given, at * 0, at - 1, at, is_node=at > 0
                )
            )
            self.assert_flops(int(told[0, depth]), counted)

    def assert_flops(self, told: int, counted: int) -> None:
        """A network that looks items up tells the most that a node may take."""
        assert told == counted

    def masked_flops(self, width: int) -> int:
        """FLOPs, in all layers, of the later positions that a mask hides in a prompt of `width`."""
        hidden = torch.tensor(width * (width - 1) // 2)
        return int(attention_flops(self.model.backbone_flops.channels, hidden))

    def test_flops_of_a_user_do_not_depend_on_the_batch_nor_on_what_stands_at_padding(self):
        together = self.model.flops_by_depth(HISTORIES)
        for user in range(NUM_USERS):
            alone = self.model.flops_by_depth(trimmed(users_of(HISTORIES, [user])))
            assert together[user].tolist() == alone[0].tolist()

    @torch.no_grad()
    @pytest.mark.parametrize("capacity", [0, 9])
    def test_room_is_made_for_more_nodes_than_were_foreseen(self, capacity):
        _, roomy = self.model.encode(HISTORIES, capacity=21)
        _, context = self.model.encode(HISTORIES, capacity=capacity)
        for _ in range(3):
            expected, roomy = extend(self.model, roomy, FULL_TREE)
            step, context = extend(self.model, context, FULL_TREE)
            assert step.logits.equal(expected.logits)
            assert step.hidden.equal(expected.hidden)

    @torch.no_grad()
    def test_there_are_logits_up_to_the_end_of_the_next_codebook_and_none_below_a_leaf(self):
        root, context = self.model.encode(HISTORIES, capacity=7)
        step, _ = extend(self.model, context, FULL_TREE)
        assert root.logits.shape == (NUM_USERS, 1, max(CODEBOOK_SIZES))
        is_finite = torch.cat([root.logits, step.logits], dim=1).isfinite()
        depths = torch.cat([torch.zeros(NUM_USERS, 1, dtype=torch.long), FULL_TREE.depths], dim=1)
        sizes = torch.tensor([*CODEBOOK_SIZES, 0])[depths]
        expected = torch.arange(max(CODEBOOK_SIZES)) < sizes[..., None]
        if self.model.siblings is not None:  # where items choose, only their codes have a logit
            few = self.model.siblings.few_items
            for user, slot in ((depths > 0) & (depths < NUM_LEVELS)).nonzero().tolist():
                prefix = torch.tensor(FULL_TREE.path(user, slot - 1))
                depth = len(prefix)
                here = (SEMANTIC_IDS[:, :depth] == prefix).all(dim=1)
                if depth == NUM_LEVELS - 1 or 0 < here.sum() <= few:
                    expected[user, slot] = False
                    expected[user, slot, SEMANTIC_IDS[here, depth]] = True
        assert is_finite.equal(expected)

    @torch.no_grad()
    def test_a_node_sees_no_sibling_and_no_other_user(self):
        _, context = self.model.encode(HISTORIES, capacity=7)
        expected, _ = extend(self.model, context, FULL_TREE)
        # Columns 0, 2, 4 of user 0 are one path; everything else is changed.
        codes = (FULL_TREE.codes + 1) % 3
        codes[0, [0, 2, 4]] = FULL_TREE.codes[0, [0, 2, 4]]
        items = (HISTORIES.items + 1) % 6
        items[0] = HISTORIES.items[0]
        others = HistoryBatch(items=items, lengths=torch.tensor([4, 4, 2, 0]))
        _, context = self.model.encode(others, capacity=7)
        step, _ = extend(
            self.model,
            context,
            Tree(codes, FULL_TREE.parents, FULL_TREE.depths, FULL_TREE.is_node),
        )
        self.assert_same(step.hidden[0, [0, 2, 4]], expected.hidden[0, [0, 2, 4]])
        moved = (step.hidden - expected.hidden).abs().amax(dim=2) > 1e-4
        expected_moves = [False, True, False, True, False, True, True]
        if not reads_prefixes(self.model):  # a node has the state of its root
            expected_moves = [False] * 7
        assert moved[0].tolist() == expected_moves
        assert moved[1:].all()

    @laws
    @given(trees(), st.lists(st.integers(0, 4), min_size=28, max_size=28))
    @torch.no_grad()
    def test_a_node_that_sees_a_part_of_the_prompt_is_one_of_that_history_or_is_refused(
        self, tree, numbers
    ):
        # A branch starts at one position of the trunk, so all its nodes see the same prompt.
        by_column = torch.tensor(numbers).view(NUM_USERS, 7)
        num_items = torch.empty_like(by_column)
        for user in range(NUM_USERS):
            for column in range(7):
                top = column
                while tree.is_node[user, column] and tree.parents[user, top] != ROOT_SLOT:
                    top = int(tree.parents[user, top]) - 1
                num_items[user, column] = by_column[user, top]
        num_items = torch.minimum(num_items, HISTORIES.lengths[:, None])
        _, context = self.model.encode(HISTORIES, capacity=7)
        visible = self.tokens_before + num_items * self.tokens_per_item
        sees_all = (num_items == HISTORIES.lengths[:, None]) | ~tree.is_node
        if not self.sees_part_of_prompt and not sees_all.all():
            with pytest.raises(ValueError, match="part of it"):
                extend(self.model, context, tree, visible=visible)
            return
        step, _ = extend(self.model, context, tree, visible=visible)
        nodes = tree.nodes()
        if not nodes:
            return
        rows = [
            HISTORIES.items[user].masked_fill(torch.arange(4) >= num_items[user, column], NO_ITEM)
            for user, column in nodes
        ]
        paths = [tree.path(*node) for node in nodes]
        alone = along(self.model, history_of(torch.stack(rows)), paths)
        self.assert_same(step.hidden[tree.is_node], alone.hidden[:, 0])

    @torch.no_grad()
    def test_seeing_the_whole_prompt_is_the_default(self):
        _, context = self.model.encode(HISTORIES, capacity=7)
        expected, _ = extend(self.model, context, FULL_TREE)
        whole = self.tokens_before + HISTORIES.lengths * self.tokens_per_item
        whole = whole[:, None].expand(NUM_USERS, 7)
        step, _ = extend(self.model, context, FULL_TREE, visible=whole)
        self.assert_same(step.hidden, expected.hidden)


class CausalCodesContract(ModelContract):
    """Further laws of decoder-only models that write the history as codes."""

    @torch.no_grad()
    def test_a_leaf_is_the_root_after_one_more_item(self):
        rows, paths, longer = [], [], []
        for user, length in enumerate(HISTORIES.lengths.tolist()):
            for item, path in enumerate(SEMANTIC_IDS.tolist()):
                rows.append(user)
                paths.append(path)
                longer.append([*HISTORIES.items[user, :length].tolist(), item])
        longer = [items + [NO_ITEM] * (5 - len(items)) for items in longer]
        root, _ = self.model.encode(history_of(torch.tensor(longer)), capacity=0)
        leaf = along(self.model, users_of(HISTORIES, rows), paths)
        self.assert_same(leaf.hidden, root.hidden)


def _rows(row: list[int]) -> Tensor:
    return torch.tensor(row).expand(NUM_USERS, len(row)).clone()


# Two children of the root, each with children; columns 0, 2, 4 are a path to a leaf.
FULL_TREE = Tree(
    codes=_rows([1, 2, 0, 1, 1, 2, 2]),
    parents=_rows([0, 0, 1, 1, 3, 3, 2]),
    depths=_rows([1, 1, 2, 2, 3, 3, 2]),
    is_node=torch.ones(NUM_USERS, 7, dtype=torch.bool),
)
