from dataclasses import replace

import pytest
import torch

from sidestep.data.windows import WindowBatch
from sidestep.model.columns import ColumnEmbedding, ItemColumns, UserColumns
from sidestep.model.config import ColumnConfig, SasRecConfig, TransformerConfig
from sidestep.model.sasrec import SasRec
from sidestep.model.transformer import Transformer
from sidestep.step import UserValues
from tests.model.batches import history_of
from tests.model.contract import CODEBOOK_SIZES, SEMANTIC_IDS

COLUMNS = {
    "genre": ColumnConfig(separator="|", values=("comedy", "drama")),
    "brand": ColumnConfig(values=("acme",)),
}
NUMBERS = torch.tensor([[0, 1, 2], [1, -1, -1], [2, -1, -1], [-1, -1, -1], [0, -1, -1], [0, 2, -1]])
WEIGHTS = torch.tensor([[0.5, 0.5, 1], [1, 0, 0], [1, 0, 0], [0, 0, 0], [1, 0, 0], [1.0, 1, 0]])
ITEMS = torch.tensor([[2, 0, 5, 1], [4, 3, -1, -1]])


def a_transformer(columns):
    torch.manual_seed(0)
    shape = TransformerConfig(
        dim=16,
        num_layers=2,
        num_heads=2,
        history="items",
        item_embedding=True,
        item_head=True,
        tied_item_head=True,
        item_columns=columns,
    )
    return loud(Transformer(shape, SEMANTIC_IDS, CODEBOOK_SIZES))


def a_sasrec(columns):
    torch.manual_seed(0)
    return loud(SasRec(SasRecConfig(dim=16, max_items=4, item_columns=columns), num_items=6))


def loud(model):
    """Weights large enough that what is read shows in the output, and equal with and without."""
    torch.manual_seed(1)
    for name, weights in model.named_parameters():
        if weights.ndim > 1 and "column" not in name:
            torch.nn.init.normal_(weights, std=0.4)
    if model.item_columns is not None:
        model.item_columns.read(NUMBERS, WEIGHTS)
        torch.nn.init.normal_(model.item_columns.table.weight, std=0.4)
    return model.eval()


def states(model, histories):
    if isinstance(model, SasRec):
        return model.states(histories)[:, -1]
    return model.encode(histories, capacity=1)[0].hidden[:, 0]


def scores(model, histories):
    found = states(model, histories)
    if isinstance(model, SasRec):
        return model.scores(found, histories)
    return model.item_logits(found, histories)


def test_worked_example():
    embedding = ColumnEmbedding(COLUMNS, dim=2)
    embedding.table.weight.data = torch.tensor([[1.0, 0.0], [3.0, 4.0], [10.0, 20.0]])
    # The mean of comedy and drama is (2, 2).
    assert embedding(NUMBERS, WEIGHTS).tolist() == [
        [12.0, 22.0],
        [3.0, 4.0],
        [10.0, 20.0],
        [0.0, 0.0],
        [1.0, 0.0],
        [11.0, 20.0],
    ]


def test_padding_learns_nothing():
    embedding = ColumnEmbedding(COLUMNS, dim=2)
    embedding(NUMBERS[3:4], WEIGHTS[3:4]).sum().backward()
    assert not embedding.table.weight.grad.any()


def test_vectors_of_items_are_those_of_the_catalog():
    columns = ItemColumns(COLUMNS, dim=4)
    columns.read(NUMBERS, WEIGHTS)
    assert columns.of_items(ITEMS[0]).equal(columns.of_catalog()[ITEMS[0]])


def test_columns_without_values_are_refused():
    with pytest.raises(ValueError, match="the values of column 'genre' are not known"):
        ColumnEmbedding({"genre": ColumnConfig(separator="|")}, dim=2)


@pytest.mark.parametrize("make", [a_transformer, a_sasrec])
@torch.no_grad()
def test_a_network_without_columns_has_no_weights_for_them(make):
    model = make(None)
    assert not [name for name in model.state_dict() if "column" in name]
    assert "item_columns" not in model.config.model_dump(mode="json")


@pytest.mark.parametrize("make", [a_transformer, a_sasrec])
@torch.no_grad()
def test_columns_of_no_effect_leave_the_output_as_it_is(make):
    model, histories = make(COLUMNS), history_of(ITEMS)
    model.item_columns.table.weight.zero_()
    plain = make(None)
    shared = {name: each for name, each in model.state_dict().items() if "column" not in name}
    plain.load_state_dict(shared)
    assert states(model, histories).equal(states(plain, histories))
    assert scores(model, histories).equal(scores(plain, histories))


@pytest.mark.parametrize("make", [a_transformer, a_sasrec])
@torch.no_grad()
def test_items_are_read_and_scored_by_their_columns(make):
    model, histories = make(COLUMNS), history_of(ITEMS[:1])
    elsewhere = history_of(torch.tensor([[2, 0, 1]]))  # without item 5
    before, scored = states(model, histories), scores(model, elsewhere)
    numbers = NUMBERS.clone()
    numbers[5] = torch.tensor([1, -1, -1])  # from comedy and acme to drama; item 5 is in ITEMS[0]
    model.item_columns.read(numbers, WEIGHTS * (numbers >= 0))
    assert not torch.allclose(states(model, histories), before, atol=1e-3)
    rescored = scores(model, elsewhere)
    assert not torch.allclose(rescored[:, 5], scored[:, 5], atol=1e-3)
    torch.testing.assert_close(rescored[:, :5], scored[:, :5])
    torch.testing.assert_close(
        model.catalog_vectors()[[0, 1, 2, 3, 4]], make(COLUMNS).catalog_vectors()[[0, 1, 2, 3, 4]]
    )


@torch.no_grad()
def test_one_score_of_a_tied_head_is_that_among_all():
    model, histories = a_transformer(COLUMNS), history_of(ITEMS)
    found, items = states(model, histories), torch.tensor([5, 3])
    one = model.some_item_logits(found, items, histories)
    torch.testing.assert_close(one, scores(model, histories)[[0, 1], items])


@torch.no_grad()
def test_a_weight_of_an_input_multiplies_its_columns():
    model = a_sasrec(COLUMNS)
    silent = replace(history_of(ITEMS[:1]), weights=torch.tensor([[1.0, 0.0, 1.0, 1.0]]))
    before = states(model, silent)
    numbers = NUMBERS.clone()
    numbers[0] = -1
    model.item_columns.read(numbers, WEIGHTS * (numbers >= 0))
    assert states(model, silent).equal(before)


def test_settings_of_columns():
    made = SasRecConfig(item_columns={"genre": "|", "brand": None, "color": {"min_count": 3}})
    assert made.item_columns == {
        "genre": ColumnConfig(separator="|"),
        "brand": ColumnConfig(),
        "color": ColumnConfig(min_count=3),
    }
    assert SasRecConfig(**made.model_dump(mode="json")) == made
    known = SasRecConfig(item_columns=COLUMNS)
    assert SasRecConfig(**known.model_dump(mode="json")) == known
    assert SasRecConfig(item_columns={}).item_columns is None
    with pytest.raises(ValueError, match="item_columns needs history: items"):
        TransformerConfig(item_columns={"genre": "|"})


USERS = UserValues(
    numbers=torch.tensor([[0, 2], [1, -1]]), weights=torch.tensor([[1.0, 1], [1, 0]])
)
DESCRIBED = replace(history_of(ITEMS), user_values=USERS)


def reading_users(make):
    """A network that reads columns of users, with weights that show in the output."""
    torch.manual_seed(0)
    if make is a_sasrec:
        model = SasRec(SasRecConfig(dim=16, max_items=4, user_columns=COLUMNS), num_items=6)
    else:
        shape = TransformerConfig(
            dim=16, num_layers=2, num_heads=2, history="items", user_columns=COLUMNS
        )
        model = Transformer(shape, SEMANTIC_IDS, CODEBOOK_SIZES)
    for weights in model.parameters():
        if weights.ndim > 1:
            torch.nn.init.normal_(weights, std=0.4)
    return model.eval()


@pytest.mark.parametrize("make", [a_transformer, a_sasrec])
@torch.no_grad()
def test_a_network_without_user_columns_ignores_users(make):
    model = make(None)
    assert states(model, DESCRIBED).equal(states(model, history_of(ITEMS)))
    assert not [name for name in model.state_dict() if "user" in name]
    assert "user_columns" not in model.config.model_dump(mode="json")


@pytest.mark.parametrize("make", [a_transformer, a_sasrec])
@torch.no_grad()
def test_the_values_of_a_user_change_the_output_of_this_user_alone(make):
    model = reading_users(make)
    whole = states(model, DESCRIBED)
    other = replace(USERS, numbers=torch.tensor([[1, 2], [1, -1]]))
    changed = states(model, replace(DESCRIBED, user_values=other))
    assert not torch.allclose(changed[0], whole[0], atol=1e-3)
    torch.testing.assert_close(changed[1], whole[1])
    nobody = replace(USERS, weights=torch.zeros(2, 2))
    unknown = states(model, replace(DESCRIBED, user_values=nobody))
    assert states(model, history_of(ITEMS)).equal(unknown)
    assert not torch.allclose(unknown, whole, atol=1e-3)


@torch.no_grad()
def test_an_empty_history_is_read_with_its_user():
    model = reading_users(a_sasrec)
    empty = replace(history_of(torch.full((2, 1), -1)), user_values=USERS)
    found = model.states(empty)[:, 0]
    assert not torch.allclose(found[0], found[1], atol=1e-3)


@pytest.mark.parametrize("make", [a_transformer, a_sasrec])
@torch.no_grad()
def test_training_reads_the_user_at_every_position_as_use_does(make):
    model = reading_users(make).double()
    batch = WindowBatch(
        items=ITEMS,
        lengths=torch.tensor([4, 2]),
        is_target=ITEMS >= 0,
        num_targets=6,
        user_values=USERS,
    )
    users, positions = batch.is_target.nonzero(as_tuple=True)
    before = batch.before(users, positions)
    rows = torch.arange(len(users))
    if make is a_sasrec:
        together = model.states(batch.histories.without_last())[users, positions]
        alone = model.states(before)[rows, positions]
    else:
        together = model.next_item_states(batch.histories)[users, positions, 0]
        alone = model.encode(before, capacity=1)[0].hidden[:, 0]
    torch.testing.assert_close(alone, together)


@torch.no_grad()
def test_some_users_are_hidden_while_training():
    torch.manual_seed(0)
    columns = UserColumns(COLUMNS, dim=1)
    columns.table.weight.fill_(1.0)
    many = UserValues(numbers=torch.zeros(4000, 1, dtype=torch.long), weights=torch.ones(4000, 1))
    histories = replace(history_of(torch.zeros(4000, 1, dtype=torch.long)), user_values=many)
    assert 0.08 < (columns.train().of_users(histories) == 0).float().mean() < 0.12
    assert (columns.eval().of_users(histories) == 1).all()


def test_user_columns_need_vectors_of_items():
    with pytest.raises(ValueError, match="user_columns needs history: items"):
        TransformerConfig(user_columns={"age": None})
