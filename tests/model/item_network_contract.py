"""The laws that every network over item IDs must pass that scores items by their input vectors.

A test module makes a subclass per network, which names the class and the settings of a tiny one.
"""

import copy
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sidestep.data.windows import Windows, window_batch
from sidestep.model.tied_item_network import TiedItemNetwork
from sidestep.padding import NO_ITEM
from sidestep.step import HistoryBatch
from sidestep.training.next_item import NextItemObjective
from sidestep.training.objective_config import NextItemConfig
from tests.model.batches import history_of

SEMANTIC_IDS = torch.tensor([[item // 3, item % 3] for item in range(9)], dtype=torch.int32)
SIZES = (3, 4)
WINDOWS = Windows(
    items=np.array([0, 2, 1, 3, 1, 5, 6]),
    starts=np.array([0, 3]),
    lengths=np.array([3, 4]),
    first_target=np.array([1, 0]),
)


class ItemNetworkContract:
    """Tests of a network; a subclass gives its class, and the settings of a tiny network."""

    network: ClassVar[type[TiedItemNetwork]]
    settings: ClassVar[dict[str, Any]] = {}

    def build(self, semantic_ids: Tensor = SEMANTIC_IDS, **changes: Any) -> TiedItemNetwork:
        """A tiny network in `eval` mode, with weights large enough to tell states apart."""
        torch.manual_seed(0)
        shape = {"dim": 16, "max_items": 6, "temperature": None, **self.settings, **changes}
        model = self.network.of_codes(self.network.Config(**shape), semantic_ids, SIZES)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.4)
        return model.eval()

    @pytest.fixture(params=[False, True], ids=["own vectors", "code sums"])
    def model(self, request):
        return self.build(code_embedding=request.param)

    @torch.no_grad()
    def test_later_items_do_not_change_earlier_states(self, model):
        first, second = states(model, [1, 2, 3, 4, 5]), states(model, [1, 2, 3, 8, 0])
        torch.testing.assert_close(first[:, :4], second[:, :4])
        assert not first[:, 4].allclose(second[:, 4], atol=1e-3)
        assert not first[:, 5].allclose(second[:, 5], atol=1e-3)

    @torch.no_grad()
    def test_padding_and_other_users_change_nothing(self, model):
        alone = states(model, [4, 7])
        padded = states(model, [4, 7, NO_ITEM, NO_ITEM], [1, 2, 3, 4])
        torch.testing.assert_close(padded[:1, :3], alone)

    @torch.no_grad()
    def test_order_matters(self, model):
        first, second = states(model, [1, 2, 3]), states(model, [2, 1, 3])
        assert not first[:, 3].allclose(second[:, 3], atol=1e-3)

    @torch.no_grad()
    def test_an_empty_history_has_the_state_of_the_start(self, model):
        nothing = model.states(history_of(torch.zeros(2, 0, dtype=torch.long)))
        assert nothing.shape == (2, 1, 16)
        torch.testing.assert_close(states(model, [5, 1])[:, :1], nothing[:1])
        padded = states(model, [NO_ITEM, NO_ITEM])
        torch.testing.assert_close(padded[:, :1], nothing[:1])

    @torch.no_grad()
    def test_the_last_states_are_those_behind_the_last_items(self, model):
        histories = history_of(
            torch.tensor([[4, 7, NO_ITEM], [1, 2, 3], [NO_ITEM, NO_ITEM, NO_ITEM]])
        )
        rows = torch.arange(3)
        expected = model.states(histories)[rows, histories.lengths]
        torch.testing.assert_close(model.last_states(histories), expected)

    def test_what_is_computed_does_not_depend_on_grad(self, model):
        recorded = states(model, [1, 2, 3])
        with torch.no_grad():
            torch.testing.assert_close(states(model, [1, 2, 3]), recorded, atol=1e-5, rtol=1e-5)

    def test_scores_are_products_with_the_item_embeddings(self):
        model = self.build()
        scores = model.scores(torch.eye(16), history_of(torch.tensor([[1, 2]] * 16)))
        assert scores.shape == (16, model.num_items)
        torch.testing.assert_close(scores, model.item_embedding.weight.T)

    @torch.no_grad()
    def test_the_vector_of_an_item_is_the_sum_of_its_codes_and_its_own(self):
        model = self.build(code_embedding=True)
        codes, own = model.code_embedding.weight, model.item_embedding.weight
        assert codes.shape == (3 + 4, 16)
        vectors = model.catalog_vectors()
        # Item 5 has the codes (1, 2); those of the second level stand behind those of the first.
        torch.testing.assert_close(vectors[5], codes[1] + codes[3 + 2] + own[5])
        torch.testing.assert_close(vectors[6], codes[2] + codes[3 + 0] + own[6])
        scores = model.scores(torch.eye(16), history_of(torch.tensor([[1, 2]] * 16)))
        torch.testing.assert_close(scores, vectors.T)
        # Reading an item by its sum is reading it by the same vector as one of its own.
        plain = self.build()
        plain.load_state_dict(
            {**model.state_dict(), "item_embedding.weight": vectors}, strict=False
        )
        torch.testing.assert_close(states(model, [5, 6, 0]), states(plain, [5, 6, 0]))

    def test_semantic_ids_are_held_as_they_are_and_are_no_weights(self):
        model = self.build(code_embedding=True)
        assert model.semantic_ids is SEMANTIC_IDS
        more = model.state_dict().keys() - self.build().state_dict().keys()
        assert more == {"code_embedding.weight"}

    @torch.no_grad()
    @pytest.mark.parametrize("temperature", [None, 0.5])
    def test_a_repeat_bias_is_added_to_what_the_history_holds(self, temperature):
        plain = self.build(temperature=temperature)
        model = self.build(temperature=temperature, repeat_bias=True)
        histories = history_of(torch.tensor([[1, 2], [8, NO_ITEM]]))
        found = torch.randn(2, 16)
        before = plain.scores(found, histories)
        torch.testing.assert_close(model.scores(found, histories), before)  # it begins at 0
        model.item_head.repeat.fill_(-0.3)
        for user, item in ((0, 1), (0, 2), (1, 8)):
            before[user, item] -= 3
        torch.testing.assert_close(model.scores(found, histories), before)

    @torch.no_grad()
    def test_a_temperature_scores_by_the_cosine(self):
        model = self.build(temperature=0.5)
        histories = history_of(torch.tensor([[1, 2]]))
        found = states(model, [1, 2])[:, -1]
        scores = model.scores(found, histories)
        items = model.item_embedding.weight
        expected = nn.functional.cosine_similarity(found[:, None], items[None], dim=-1) / 0.5
        torch.testing.assert_close(scores, expected)
        items.mul_(torch.arange(1, 10)[:, None])  # lengths of vectors must not matter
        torch.testing.assert_close(model.scores(found, histories), scores)

    @pytest.mark.parametrize("temperature", [None, 0.5])
    @pytest.mark.parametrize("code_embedding", [False, True])
    @torch.no_grad()
    def test_some_items_score_as_they_do_among_all(self, temperature, code_embedding):
        model = self.build(temperature=temperature, repeat_bias=True, code_embedding=code_embedding)
        model.item_head.begin_at(-3.0)
        histories = history_of(torch.tensor([[1, 2], [8, 0]]))
        found = states(model, [1, 2], [8, 0])[:, -1]
        whole = model.scores(found, histories)
        for items in (torch.arange(9), torch.tensor([0, 2, 5])):
            rows = model.item_rows() if len(items) == 9 else model.item_rows(items)
            some = model.row_scores(found, rows, items, histories)
            torch.testing.assert_close(some, whole[:, items])

    def test_a_history_beyond_the_positions_is_refused(self, model):
        assert states(model, [1, 2, 3, 4, 5, 6]).shape == (1, 7, 16)
        with pytest.raises(ValueError, match="histories of 7 items; the network was built for 6"):
            states(model, [1, 2, 3, 4, 5, 6, 7])

    @pytest.mark.parametrize("code_embedding", [False, True])
    @torch.no_grad()
    def test_a_weight_scales_the_vector_of_an_item_where_it_is_read(self, code_embedding):
        network = self.build(code_embedding=code_embedding)
        items, lengths = torch.tensor([[3, 1, 2]]), torch.tensor([3])
        plain = HistoryBatch(items=items, lengths=lengths)
        ones = replace(plain, weights=torch.ones(1, 3))
        torch.testing.assert_close(network.states(ones), network.states(plain))
        weighted = replace(plain, weights=torch.tensor([[1, 0.2, 1]]))
        scaled = copy.deepcopy(network)
        # The own vector makes up for the codes, which other items share.
        scaled.item_embedding.weight[1] -= 0.8 * network.catalog_vectors()[1]
        torch.testing.assert_close(network.states(weighted), scaled.states(plain))

    @torch.no_grad()
    def test_gaps_matter_where_times_are_read_and_unknown_gaps_are_no_gaps(self):
        network = self.build(times=True)
        assert network.reads_times
        assert not self.build().reads_times
        plain = history_of(torch.tensor([[3, 1, 2]]))
        timed = replace(plain, gaps=torch.tensor([[60.0, 86400.0, 5.0]]))
        other = replace(plain, gaps=torch.tensor([[60.0, 86400.0, 5e6]]))
        torch.testing.assert_close(network.states(timed)[:, :3], network.states(other)[:, :3])
        assert not network.states(timed)[:, 3].allclose(network.states(other)[:, 3], atol=1e-4)
        assert not network.states(timed)[:, 1].allclose(network.states(plain)[:, 1], atol=1e-4)
        unknown = replace(plain, gaps=torch.full((1, 3), torch.nan))
        torch.testing.assert_close(network.states(unknown), network.states(plain))

    @pytest.mark.parametrize("times", [None, True])
    def test_the_loss_of_the_next_item_moves_every_weight_and_falls(self, times):
        network = self.build(dropout=0.0, times=times, code_embedding=True, repeat_bias=True)
        objective = NextItemObjective(network, NextItemConfig()).train()
        windows = WINDOWS
        if times:
            stamps = np.array([0, 60, 3600, 0, 5, 80, 9000])
            windows = replace(WINDOWS, timestamps=stamps)
        batch = window_batch(windows, np.arange(2))
        optimizer = torch.optim.Adam(objective.parameters(), lr=0.01)
        losses = []
        for _ in range(30):
            optimizer.zero_grad()
            loss = objective(batch).loss
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        missing = [name for name, one in network.named_parameters() if one.grad is None]
        assert not missing
        assert losses[-1] < 0.5 * losses[0]


def states(model: TiedItemNetwork, *rows: list[int]) -> Tensor:
    """The states of histories that are given as rows of items of one length."""
    return model.states(history_of(torch.tensor(rows)))
