"""COBRA passes the laws of every model, and predicts a vector after the sparse ID."""

import pytest
import torch
from pydantic import ValidationError

from sidestep.model.cobra import Cobra
from sidestep.model.config import CobraConfig
from sidestep.padding import NO_ITEM
from sidestep.step import ROOT_SLOT
from tests.model.batches import history_of
from tests.model.contract import CODEBOOK_SIZES, SEMANTIC_IDS, CausalCodesContract

VECTORS = torch.randn(len(SEMANTIC_IDS), 5, generator=torch.Generator().manual_seed(1))


def tiny(semantic_ids=SEMANTIC_IDS, sizes=CODEBOOK_SIZES, **changes) -> Cobra:
    torch.manual_seed(0)
    shape = {"dim": 16, "num_layers": 2, "ffn_dim": 24, "vector_dim": 5, "temperature": 0.5}
    model = Cobra(CobraConfig(**{**shape, **changes}), semantic_ids, sizes)
    for parameter in model.parameters():  # so large that a node depends on all that it sees
        torch.nn.init.normal_(parameter, std=0.4)
    model.set_item_vectors(VECTORS[: len(semantic_ids)].numpy())
    return model


class TestCobra(CausalCodesContract):
    looks_items_up = True

    def assert_flops(self, told, counted):
        assert counted <= told

    def build(self):
        return tiny()


class TestCobraOfSeveralRowsPerCode(TestCobra):
    def build(self):
        return tiny(rows_per_code=2)


def after(model, items, path):
    """The output after a history and a path of codes, one user."""
    step, context = model.encode(history_of(torch.tensor([items])), capacity=len(path))
    for depth, code in enumerate(path):
        node = torch.tensor([[depth]])
        step, context = model.extend(
            context, torch.full_like(node, code), node + ROOT_SLOT, node + 1, is_node=node >= 0
        )
    return step


@torch.no_grad()
def test_the_last_code_is_scored_by_the_cosine_of_the_predicted_vector_and_the_item():
    """Items 2 and 5 share the sparse ID (3, 1), and have the last codes 2 and 4."""
    model = tiny().eval()
    step = after(model, [0, 4], [3, 1])
    predicted, items = step.hidden[0, 0], model.dense_vectors(torch.tensor([2, 5]))
    cosines = torch.cosine_similarity(predicted[None], items)
    torch.testing.assert_close(step.logits[0, 0, [2, 4]], cosines / 0.5)
    assert (step.logits[0, 0, [0, 1, 3]] == -torch.inf).all()


@torch.no_grad()
def test_one_state_scores_all_items_some_items_and_lists_of_items_alike():
    model = tiny().eval()
    states, histories = torch.randn(3, 16), history_of(torch.tensor([[0], [1], [NO_ITEM]]))
    every = model.item_logits(states, histories)
    rows = torch.nn.functional.normalize(model.catalog_vectors(), dim=-1)
    torch.testing.assert_close(every, torch.nn.functional.normalize(states) @ rows.T / 0.5)
    some = torch.tensor([1, 4])
    scores = model.row_scores(states, model.item_rows(some), some, histories)
    torch.testing.assert_close(scores, every[:, some])
    for lists in (some[None], torch.arange(6)[None], torch.tensor([[0, 0, 1, 1, 2, 2, 3]])):
        scores = model.scores_of_lists(states, lists.expand(3, -1), histories.items)
        torch.testing.assert_close(scores, every[:, lists[0]])


@torch.no_grad()
def test_a_history_holds_the_dense_vector_in_the_place_of_the_last_code():
    model = tiny().eval()
    before = after(model, [2, 1], [0]).logits
    model.code_embedding.weight[-CODEBOOK_SIZES[-1] :] = 9.0  # of the last codes; read nowhere
    assert after(model, [2, 1], [0]).logits.equal(before)
    model.set_item_vectors(VECTORS.flip(0).numpy())
    assert not after(model, [2, 1], [0]).logits.equal(before)


@torch.no_grad()
def test_a_leaf_is_read_as_the_history_reads_its_item():
    """The states below a leaf are none, so the state at the leaf itself is compared."""
    model = tiny().eval()
    leaf = after(model, [4], SEMANTIC_IDS[5].tolist()).hidden
    root, _ = model.encode(history_of(torch.tensor([[4, 5]])), capacity=0)
    torch.testing.assert_close(leaf, root.hidden)
    other, _ = model.encode(history_of(torch.tensor([[4, 2]])), capacity=0)
    assert not torch.allclose(leaf, other.hidden)


@torch.no_grad()
def test_only_the_direction_of_a_given_vector_counts_and_an_unknown_item_stays_zero():
    model = tiny()
    vectors = VECTORS.clone()
    vectors[3] = 0.0
    model.set_item_vectors((vectors * torch.arange(1, 7)[:, None]).numpy())
    torch.testing.assert_close(model.item_vectors.norm(dim=1), (vectors != 0).any(1).float())


def test_the_given_vectors_are_kept_with_the_weights_and_do_not_learn():
    model = tiny()
    assert "item_vectors" in model.state_dict()
    assert "item_vectors" not in dict(model.named_parameters())


def test_what_makes_no_cobra_is_refused():
    with pytest.raises(ValueError, match="at least two codes"):
        tiny(SEMANTIC_IDS[:, :1], CODEBOOK_SIZES[:1])
    with pytest.raises(ValueError, match="vector_dim is not known"):
        tiny(vector_dim=None)
    for settings in ({"history": "items"}, {"item_head": True}, {"last_code_head": "items"}):
        with pytest.raises(ValidationError):
            CobraConfig(**settings)
    with pytest.raises(ValueError, match="no token stands for it"):
        tiny().llama_form()
    model = tiny()
    assert model.with_last_code_by_items() is model
    with pytest.raises(ValueError, match="COBRA has none"):
        model.with_last_code_by_items(few_items=3)
