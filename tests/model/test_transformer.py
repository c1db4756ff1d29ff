import pytest
import torch

from sidestep.model import transformer
from sidestep.model.config import TransformerConfig
from sidestep.model.transformer import Transformer
from sidestep.padding import NO_ITEM
from tests.model.batches import history_of
from tests.model.contract import (
    CODEBOOK_SIZES,
    SEMANTIC_IDS,
    CausalCodesContract,
    ModelContract,
)
from tests.model.counted_flops import counted_flops


def tiny(**changes) -> Transformer:
    torch.manual_seed(0)
    config = TransformerConfig(**{"dim": 16, "num_layers": 2, "ffn_dim": 24, **changes})
    model = Transformer(config, SEMANTIC_IDS, CODEBOOK_SIZES)
    for parameter in model.parameters():  # so large that a node depends on all that it sees
        torch.nn.init.normal_(parameter, std=0.4)
    return model


class TestHistoryOfCodes(CausalCodesContract):
    def build(self):
        return tiny()


class TestGroupedQueriesWithBiases(CausalCodesContract):
    def build(self):
        return tiny(num_kv_heads=2, attention_bias=True)


class TestSeveralRowsPerCode(CausalCodesContract):
    def build(self):
        return tiny(rows_per_code=3)


class TestHistoryOfItems(ModelContract):
    tokens_per_item = 1

    def build(self):
        return tiny(history="items", num_heads=2)


class TestHistoryOfItemsWithTheirOwnEmbeddings(ModelContract):
    tokens_per_item = 1

    def build(self):
        return tiny(history="items", item_embedding=True, num_heads=2, num_kv_heads=1)


class TestLastCodeByItems(ModelContract):
    """The item head chooses the last code; a repeat bias looks at what the history holds."""

    tokens_per_item = 1

    def build(self):
        model = tiny(
            history="items",
            num_heads=2,
            item_embedding=True,
            item_head=True,
            tied_item_head=True,
            repeat_bias=True,
            last_code_head="items",
        )
        model.item_head.begin_at(-1.5)
        model.query_mix.data = torch.tensor([0.75, 0.5])
        return model


class TestSomeEarlierCodesByItems(TestLastCodeByItems):
    """Items also choose the second code below the two first codes with one item."""

    def build(self):
        model = super().build().with_last_code_by_items(few_items=1)
        assert (model.siblings.widest[1], model.siblings.choose_all[1]) == (1, False)
        return model


class TestAllLaterCodesByItems(TestLastCodeByItems):
    """Items choose all codes but the first."""

    def build(self):
        model = super().build().with_last_code_by_items(few_items=2)
        assert (model.siblings.widest[1], model.siblings.choose_all[1]) == (2, True)
        return model


class TestAllLaterCodesByTheStateAfterTheHistory(TestLastCodeByItems):
    """Items choose all codes but the first, and the network is asked for the root alone."""

    def build(self):
        model = super().build().with_last_code_by_items(few_items=2, prefix_queries=False)
        assert model.query_mix is None
        assert not model.reads_prefixes
        return model


class TestCodesByTheStateAfterTheHistoryInALargeCatalog(TestAllLaterCodesByTheStateAfterTheHistory):
    """The items below each prefix are scored, and not all items at once."""

    @pytest.fixture(autouse=True)
    def large(self, monkeypatch):
        monkeypatch.setattr(transformer, "SCORED_ITEMS", 0)


class TestCodesByTheStateAfterAHistoryOfCodes(ModelContract):
    def build(self):
        model = tiny(item_head=True, last_code_head="items", few_items=2, prefix_queries=False)
        assert not model.reads_prefixes
        return model


class TestSomeEarlierCodesByTheStateAfterTheHistory(TestLastCodeByItems):
    """Rows choose some codes after the first, so the network reads prefixes."""

    def build(self):
        model = super().build().with_last_code_by_items(few_items=1, prefix_queries=False)
        assert model.reads_prefixes
        return model


class TestLastCodeByRowsOfItems(CausalCodesContract):
    """Histories of codes, and an item head with rows of its own that chooses the last code."""

    def build(self):
        model = tiny(item_head=True, last_code_head="items")
        model.query_mix.data = torch.tensor([0.75, 0.5])
        return model


def test_an_items_own_embedding_tells_items_of_equal_codes_apart():
    torch.manual_seed(0)
    config = TransformerConfig(dim=8, num_heads=2, history="items", item_embedding=True, dropout=0)
    model = Transformer(config, torch.zeros(2, 2, dtype=torch.long), (1, 1))
    from_codes = model.code_embedding.weight.sum(dim=0)
    model.eval()
    vectors, _ = model._prompt(history_of(torch.tensor([[0, 1]])))
    own = vectors[0, 1:] - from_codes
    torch.testing.assert_close(own, model.item_embedding.weight)


def test_the_item_head_scores_every_item_and_its_absence_is_an_error():
    model = tiny(item_head=True)
    histories = history_of(torch.tensor([[0, 3], [4, NO_ITEM], [NO_ITEM, NO_ITEM]]))
    counted, logits = counted_flops(lambda: model.item_logits(torch.zeros(3, 16), histories))
    assert logits.shape == (3, 6)
    assert 3 * model.num_items * model.flops_per_item == counted
    without = tiny()
    states, items = torch.randn(3, 16), torch.tensor([5, 0, 3])
    with pytest.raises(ValueError, match="item_head: true"):
        without.item_logits(states, histories)
    with pytest.raises(ValueError, match="item_head: true"):
        without.some_item_logits(states, items, histories)
    with pytest.raises(ValueError, match="item_head: true"):
        without.item_rows()


@pytest.mark.parametrize("is_tied", [False, True])
@pytest.mark.parametrize("repeat", [None, -0.3])
def test_what_the_item_head_multiplies_and_adds(is_tied, repeat):
    model = tiny(
        item_head=True,
        history="items",
        item_embedding=True,
        tied_item_head=is_tied,
        repeat_bias=repeat is not None,
    ).eval()
    histories = history_of(torch.tensor([[0, 3], [4, NO_ITEM], [NO_ITEM, NO_ITEM]]))
    states = torch.randn(3, 16)
    rows = model.item_head.weight
    if is_tied:
        assert rows is None
        every = history_of(torch.arange(6)[None])
        rows = model._prompt(every)[0][0, 1:]
    expected = (states @ rows.T).detach()
    if repeat is not None:
        model.item_head.repeat.data.fill_(repeat)
        held = {(0, 0), (0, 3), (1, 4)}
        for user, item in held:
            expected[user, item] += 10 * repeat
    torch.testing.assert_close(model.item_logits(states, histories), expected)
    for items in ([5, 4, 3], [3, 4, 0]):
        some = model.some_item_logits(states, torch.tensor(items), histories)
        torch.testing.assert_close(some, expected[torch.arange(3), torch.tensor(items)])
    items = torch.tensor([0, 3, 4])
    some = model.row_scores(states, model.item_rows(items), items, histories)
    torch.testing.assert_close(some, expected[:, items])
    every = model.row_scores(states, model.item_rows(), torch.arange(6), histories)
    torch.testing.assert_close(every, expected)


def test_the_repeat_bias_begins_at_nothing():
    config = TransformerConfig(dim=16, item_head=True, repeat_bias=True)
    assert Transformer(config, SEMANTIC_IDS, CODEBOOK_SIZES).item_head.repeat == 0


@pytest.mark.parametrize("setting", ["tied_item_head", "repeat_bias"])
def test_what_shapes_an_item_head_needs_one(setting):
    with pytest.raises(ValueError, match="need item_head: true"):
        TransformerConfig(**{setting: True}, history="items")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dim": 18}, "dim 18"),
        ({"num_kv_heads": 3}, "num_kv_heads 3"),
        ({"item_embedding": True}, "history: items"),
        ({"widht": 3}, "widht"),
    ],
)
def test_a_shape_that_cannot_be_built_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TransformerConfig(**changes)


@pytest.mark.parametrize(
    ("sizes", "message"), [((4, 3), "2 codebook sizes"), ((4, 2, 5), r"reach \[3, 2, 4\]")]
)
def test_semantic_ids_outside_the_codebooks_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        Transformer(TransformerConfig(dim=16), SEMANTIC_IDS, sizes)


@pytest.mark.parametrize("history", ["codes", "items"])
def test_history_states_are_the_root_states_of_every_shorter_history(history):
    model = tiny(history=history).eval()
    items = torch.tensor([[3, 1, 4], [2, NO_ITEM, NO_ITEM]])
    _, context = model.encode(history_of(items), capacity=0)
    found = context.history_states
    assert found.counts.tolist() == [4, 2]
    for user, count in enumerate(found.counts.tolist()):
        for past in range(count):
            root, _ = model.encode(history_of(items[user : user + 1, :past]), capacity=0)
            assert torch.allclose(found.states[user, past], root.hidden[0, 0], atol=1e-5)


def test_a_tied_head_needs_items_to_be_read_as_vectors():
    with pytest.raises(ValueError, match="tied_item_head needs history: items"):
        TransformerConfig(item_head=True, tied_item_head=True, history="codes")


def test_settings_of_item_heads_that_are_not_set_are_not_written():
    written = TransformerConfig(item_head=True).model_dump(mode="json")
    assert not {"tied_item_head", "repeat_bias"} & set(written)
    shape = TransformerConfig(item_head=True, history="items", tied_item_head=True)
    assert TransformerConfig(**shape.model_dump(mode="json")) == shape


def test_new_rows_change_nothing_of_a_code_but_a_little_noise_and_can_be_trained_and_kept():
    model = tiny().eval()
    states = torch.randn(5, 16)
    assert model.with_rows_per_code(1) is model
    more = model.with_rows_per_code(4)
    assert model.more_rows is None
    before, after = (m.row_logits(states, 0, 3).log_softmax(dim=1) for m in (model, more))
    torch.testing.assert_close(after, before, atol=0.5, rtol=0)
    assert not after.equal(before)
    assert more.row_logits(states, 0, 3).equal(model.with_rows_per_code(4).row_logits(states, 0, 3))
    assert [rows.shape[1:] for rows in more.code_rows] == [(16,), (3, 16)]
    again = more.with_rows_per_code(6)
    assert again.more_rows[:, :3].equal(more.more_rows)
    rebuilt = Transformer(again.config, SEMANTIC_IDS, CODEBOOK_SIZES)
    rebuilt.load_state_dict(again.state_dict())
    with pytest.raises(ValueError, match="2 is less than the 4 rows"):
        more.with_rows_per_code(2)
