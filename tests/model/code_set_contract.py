"""The laws every model over sets of codes must pass, beside those of `ModelContract`."""

import itertools
from abc import abstractmethod

import pytest
import torch

from sidestep.model.code_set_model import CodeSetModel
from sidestep.step import log_probs
from tests.model.batches import scores_by_rows
from tests.model.contract import (
    CODEBOOK_SIZES,
    FULL_TREE,
    HISTORIES,
    NUM_LEVELS,
    NUM_USERS,
    SEMANTIC_IDS,
    ModelContract,
    along,
    extend,
)


def flat_ids(item):
    starts = [0, *itertools.accumulate(CODEBOOK_SIZES)]
    return [starts[level] + int(SEMANTIC_IDS[item, level]) for level in range(NUM_LEVELS)]


class CodeSetContract(ModelContract):
    """Subclass as `Test…`, and build tiny models."""

    tokens_per_item = 1

    @abstractmethod
    def of_sets(self, **changes) -> CodeSetModel:
        """A tiny model with other settings, in eval mode."""

    @abstractmethod
    def shallow(self) -> CodeSetModel:
        """A tiny model that decodes in one layer."""

    def actions_of(self, item):
        return flat_ids(item)

    @torch.no_grad()
    def test_under_autocast_logits_are_float32_from_the_states_on(self):
        model = self.build().eval()
        with torch.autocast("cpu", torch.bfloat16):
            root, _ = model.encode(HISTORIES, capacity=14)
        assert root.logits.dtype == torch.float32
        torch.testing.assert_close(root.logits, scores_by_rows(model, root.hidden.float()))

    @torch.no_grad()
    def test_there_are_logits_up_to_the_end_of_the_next_codebook_and_none_below_a_leaf(self):
        tree = FULL_TREE
        root, context = self.model.encode(HISTORIES, capacity=7)
        step, _ = extend(self.model, context, tree)
        assert root.logits.shape == (NUM_USERS, 1, sum(CODEBOOK_SIZES))
        assert root.logits.isfinite().all()
        is_inner = (tree.depths < NUM_LEVELS)[..., None].expand(step.logits.shape)
        assert step.logits.isfinite().equal(is_inner)

    @torch.no_grad()
    @pytest.mark.parametrize("order", list(itertools.permutations(range(NUM_LEVELS))))
    def test_teacher_forced_states_in_any_order_are_those_of_the_search(self, order):
        orders = torch.tensor(order).expand(NUM_USERS, 4, -1)
        states = self.model.set_states(HISTORIES, orders)
        for user, position in ((0, 0), (0, 3), (3, 1)):
            before = HISTORIES.select(torch.tensor([user])).first(torch.tensor([position]))
            codes = [flat_ids(int(HISTORIES.items[user, position]))[level] for level in order]
            for step in range(NUM_LEVELS):
                alone = along(self.model, before, [codes[:step]])
                self.assert_same(states[user, position, step], alone.hidden[0, 0])

    @torch.no_grad()
    def test_fewer_steps_are_the_first_ones(self):
        orders = torch.tensor([2, 0, 1]).expand(NUM_USERS, 4, -1)
        whole = self.model.set_states(HISTORIES, orders)
        self.assert_same(self.model.set_states(HISTORIES, orders[..., :2]), whole[:, :, :2])
        self.assert_same(self.model.root_states(HISTORIES), whole[:, :, 0])

    @torch.no_grad()
    def test_no_code_has_a_place_among_the_codes_of_its_item(self):
        # A code sees those before it, so a deeper network knows of an order. In one layer, only the
        # place of a code could tell.
        model = self.shallow().double()
        for first, second, last in itertools.permutations(flat_ids(3)):
            states = [
                along(model, HISTORIES, [path] * NUM_USERS).hidden
                for path in ([first, second, last], [second, first, last])
            ]
            self.assert_same(*states)

    @torch.no_grad()
    def test_a_fixed_order_takes_one_codebook_after_the_other(self):
        step, context = self.of_sets(order="fixed").encode(HISTORIES, capacity=1)
        legal = torch.ones(NUM_USERS, 1, sum(CODEBOOK_SIZES), dtype=torch.bool)
        assert step.followed(legal)[0, 0].nonzero()[:, 0].tolist() == [0, 1, 2, 3]
        legal[..., :4] = False
        assert step.followed(legal)[0, 0].nonzero()[:, 0].tolist() == [4, 5, 6]
        first, _ = extend(self.of_sets(order="fixed"), context, FULL_TREE)
        legal = legal.expand(NUM_USERS, 7, -1)
        assert first.followed(legal)[0, 0].nonzero()[:, 0].tolist() == [4, 5, 6]

    def test_random_orders_differ_by_seed_and_stay_the_same(self):
        orders = [self.of_sets(order="random", order_seed=seed).order.tolist() for seed in range(8)]
        assert sorted(orders[0]) == [0, 1, 2]
        assert len({tuple(order) for order in orders}) > 2
        assert self.of_sets(order="random", order_seed=3).order.tolist() == orders[3]

    @torch.no_grad()
    def test_another_order_changes_the_choice_and_no_logit(self):
        model = self.of_sets()
        other = model.with_order("random")
        assert other.config.order == "random"
        assert model.config.order == "confident"
        expected = self.of_sets(order="random")
        assert other.order.equal(expected.order)
        assert not model.order.equal(expected.order)
        steps = [each.encode(HISTORIES, capacity=1)[0] for each in (model, other, expected)]
        assert steps[1].logits.equal(steps[0].logits)
        legal = torch.ones_like(steps[0].logits, dtype=torch.bool)
        assert steps[1].followed(legal).equal(steps[2].followed(legal))

    @torch.no_grad()
    def test_without_legal_codes_one_whole_codebook_sums_to_one(self):
        step, _ = self.of_sets(order="fixed").encode(HISTORIES, capacity=1)
        probs = log_probs(step, None).exp()
        torch.testing.assert_close(probs[..., :4].sum(dim=-1), torch.ones(NUM_USERS, 1))
        assert not probs[..., 4:].any()
