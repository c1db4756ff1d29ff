"""The forms of the item loss agree where they must; and bad settings are refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sidestep.catalog.trie import Trie
from sidestep.data.windows import Windows
from sidestep.model.config import SasRecConfig, TransformerConfig
from sidestep.model.item_network import ItemNetwork
from sidestep.model.sasrec import SasRec
from sidestep.model.transformer import Transformer
from sidestep.objectives.negatives import NegativeSampler
from sidestep.search.beam import BeamSearch
from sidestep.search.policy import Scope
from sidestep.training import item_loss
from sidestep.training.next_code import NextCodeObjective
from sidestep.training.next_item import NextItemObjective
from sidestep.training.objective_config import NextCodeConfig, NextItemConfig

from .objective_contract import ObjectiveContract
from .test_next_code import BATCH

NUM_ITEMS = 12
IDS = torch.stack(
    [torch.arange(NUM_ITEMS) // place % size for place, size in ((1, 2), (2, 3), (6, 2))]
).T
WINDOWS = Windows(
    items=np.array([0, 2, 1, 3, 1]),
    starts=np.array([0, 3]),
    lengths=np.array([3, 2]),
    first_target=np.array([1, 0]),
)
WEIGHTED = replace(BATCH, target_weights=torch.tensor([[0.0, 1.0, 0.5], [0.3, 1.0, 0.0]]))


def transformer(is_tied=True, last_code_head="codes", **config) -> NextCodeObjective:
    torch.manual_seed(0)
    shape = TransformerConfig(
        dim=8,
        num_layers=1,
        num_heads=2,
        history="items",
        item_embedding=True,
        item_head=True,
        tied_item_head=is_tied,
        repeat_bias=True,
        last_code_head=last_code_head,
        dropout=0.0,
    )
    network = Transformer(shape, IDS, (2, 3, 2))
    network.item_head.begin_at(-2.0)
    config = {"item_weight": 1.0, "distillation_weight": 2.0, **config}
    return NextCodeObjective(network, NextCodeConfig(**config))


def sasrec(**config) -> NextItemObjective:
    torch.manual_seed(0)
    shape = SasRecConfig(dim=8, num_layers=1, max_items=5, dropout=0.0, temperature=0.5)
    return NextItemObjective(SasRec(shape, NUM_ITEMS), NextItemConfig(**config))


KINDS = {
    "tied": transformer,
    "own rows": lambda **config: transformer(is_tied=False, **config),
    "sasrec": sasrec,
}


def loss_and_gradients(objective):
    objective.prepare(WINDOWS)
    output = objective(WEIGHTED)
    output.loss.backward()
    gradients = {name: one.grad for name, one in objective.named_parameters()}
    return dict(output.parts), gradients


@pytest.mark.parametrize("form", ["chunked", "sampled"])
@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_a_loss_that_sees_every_item_once_is_the_exact_one(
    kind, form, label_smoothing, monkeypatch
):
    monkeypatch.setattr(item_loss, "CHUNK_ITEMS", 5)
    settings = {"num_negatives": NUM_ITEMS, "negatives": ("uniform",)}
    made = KINDS[kind](item_loss=form, label_smoothing=label_smoothing, **settings)
    ours, our_gradients = loss_and_gradients(made)
    exact = KINDS[kind](item_loss="exact", label_smoothing=label_smoothing)
    theirs, their_gradients = loss_and_gradients(exact)
    assert ours.keys() == theirs.keys()
    for name, part in theirs.items():
        torch.testing.assert_close(ours[name], part, msg=name)
    for name, gradient in their_gradients.items():
        torch.testing.assert_close(our_gradients[name], gradient, atol=1e-6, rtol=1e-4, msg=name)


def test_a_beam_finds_negatives_after_the_latest_history_of_each_window():
    made = transformer(item_loss="sampled", negatives=("uniform", "beam"), beam_negatives=3)
    found = made.found_items(BATCH)
    assert made.training
    made.eval()
    trie = Trie.build(IDS.numpy(), (2, 3, 2))
    latest = BATCH.before(torch.tensor([0, 1]), torch.tensor([2, 1]))
    expected = BeamSearch(num_beams=3).search(made.model, latest, Scope(trie=trie))
    items = trie.items(expected.leaves)
    assert sorted(found.tolist()) == sorted(items[items >= 0].tolist())
    assert len(found) >= 6
    assert transformer(item_loss="sampled").found_items(BATCH) is None


def test_a_loss_of_uniform_draws_of_all_items_and_a_beam_is_the_exact_one():
    """Each item is drawn once and found once, or drawn once; both weigh 1."""
    settings = {"num_negatives": NUM_ITEMS, "negatives": ("uniform", "beam")}
    ours = loss_and_gradients(transformer(item_loss="sampled", **settings))
    exact = loss_and_gradients(transformer(item_loss="exact"))
    torch.testing.assert_close(ours[0]["item"], exact[0]["item"])
    for name, gradient in exact[1].items():
        torch.testing.assert_close(ours[1][name], gradient, atol=1e-6, rtol=1e-4, msg=name)


def test_a_beam_alone_and_a_beam_of_a_network_without_codes_are_refused():
    with pytest.raises(ValueError, match="name uniform beside it"):
        NextCodeConfig(negatives=("beam",))
    with pytest.raises(ValueError, match="needs a network that predicts codes"):
        NextItemConfig(negatives=("uniform", "beam"))
    with pytest.raises(ValueError, match="this loss draws no negatives"):
        transformer(item_loss="exact", negatives=("uniform", "beam"))
    with pytest.raises(ValueError, match="needs a network that predicts codes"):
        NextItemConfig(negatives=("beam",))
    with pytest.raises(ValueError, match="beam_negatives"):
        NextItemConfig(beam_negatives=3)


@pytest.mark.parametrize("is_tied", [False, True])
def test_below_small_nodes_a_sampled_loss_teaches_what_the_exact_one_does(is_tied, monkeypatch):
    """No negative is drawn but items 0 and 1."""
    monkeypatch.setattr(NegativeSampler, "_drawn", lambda *_: torch.tensor([0, 1]))
    users, positions = BATCH.is_target.nonzero(as_tuple=True)
    targets = item_loss.ItemTargets(
        states=torch.randn(4, 8),
        histories=BATCH.before(users, positions),
        items=BATCH.items[users, positions],
        windows=users,
        weights=None,
    )
    probs = {}
    for form, most_items in (("exact", 0), ("sampled", 2), ("sampled", 6), ("sampled", 1)):
        monkeypatch.setattr(item_loss, "SMALL_NODE_ITEMS", most_items)
        made = transformer(is_tied, item_loss=form)
        made.prepare(WINDOWS)
        probs[form, most_items] = made.item_loss(targets).next_code_probs()
    # Six items are below a first code, two below two of them.
    torch.testing.assert_close(probs["sampled", 6][:, 1:], probs["exact", 0][:, 1:])
    torch.testing.assert_close(probs["sampled", 2][:, 2], probs["exact", 0][:, 2])
    for most_items, level in ((6, 0), (2, 1), (1, 2)):
        assert not torch.allclose(
            probs["sampled", most_items][:, level], probs["exact", 0][:, level]
        )


@pytest.mark.parametrize("kind", list(KINDS))
def test_auto_is_exact_for_a_small_catalog_and_sampled_for_a_large_one(kind, monkeypatch):
    auto, exact = (loss_and_gradients(KINDS[kind](item_loss=form)) for form in ("auto", "exact"))
    assert all(torch.equal(auto[0][name], part) for name, part in exact[0].items())
    monkeypatch.setattr(item_loss, "EXACT_ITEMS", NUM_ITEMS - 1)
    torch.manual_seed(3)
    auto = loss_and_gradients(KINDS[kind]())
    torch.manual_seed(3)
    sampled = loss_and_gradients(KINDS[kind](item_loss="sampled"))
    assert all(torch.equal(auto[0][name], part) for name, part in sampled[0].items())
    assert auto[0]["item"] != exact[0]["item"]


def test_a_sampled_loss_without_the_windows_says_what_to_call():
    with pytest.raises(ValueError, match=r"call prepare\(\)"):
        sasrec(item_loss="sampled")(BATCH)


class Popular(ItemNetwork):
    """Scores every item by a number of its own."""

    Config = SasRecConfig

    def __init__(self, num_items=NUM_ITEMS):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.zeros(num_items))

    @property
    def num_items(self):
        return len(self.logits)

    def states(self, histories):
        users, width = histories.items.shape
        return torch.zeros(users, width + 1, 1)

    def scores(self, states, histories):
        return self.logits.expand(len(states), -1)


@pytest.mark.parametrize("form", ["chunked", "sampled"])
def test_a_network_that_cannot_score_some_items_is_exact_or_refused(form, monkeypatch):
    monkeypatch.setattr(item_loss, "EXACT_ITEMS", NUM_ITEMS - 1)
    loss = NextItemObjective(Popular(), NextItemConfig())(BATCH).loss
    torch.testing.assert_close(loss, torch.tensor(NUM_ITEMS).log())
    with pytest.raises(ValueError, match=f"item_loss is {form}.*Popular has none"):
        NextItemObjective(Popular(), NextItemConfig(item_loss=form))


def test_a_source_of_negatives_that_is_named_twice_or_unknown_is_refused():
    with pytest.raises(ValueError, match="named twice"):
        NextItemConfig(negatives=("uniform", "uniform"))
    with pytest.raises(ValueError, match="popularity"):
        NextItemConfig(negatives=("popular",))


def test_settings_that_are_not_set_are_left_out_of_files():
    assert NextItemConfig().model_dump() == {"label_smoothing": 0.0}
    assert NextItemConfig(num_negatives=7).model_dump()["num_negatives"] == 7


class TestSampled(ObjectiveContract):
    batch = BATCH

    def make(self):
        made = transformer(item_loss="sampled", num_negatives=6)
        made.prepare(WINDOWS)
        return made


OWN = ("sampled-softmax", "binary", "gbce")


@pytest.mark.parametrize("loss", OWN)
def test_a_loss_with_own_negatives_is_that_of_the_scores_of_the_drawn_items(loss, monkeypatch):
    """Four targets with the draws 0, 1, 2 each; the scores are taken from those of all items."""
    drawn = torch.tensor([0, 1, 2]).repeat(4)
    monkeypatch.setattr(NegativeSampler, "_drawn", lambda *_: drawn)
    monkeypatch.setattr(torch, "randperm", lambda number, **_: torch.arange(number))
    calibration = {"calibration": 0.5} if loss == "gbce" else {}
    made = sasrec(loss=loss, negatives_per_target=3, **calibration)
    made.prepare(WINDOWS)
    users, positions = BATCH.is_target.nonzero(as_tuple=True)
    histories = replace(BATCH.histories.without_last(), lengths=BATCH.lengths - 1)
    states = made.network.states(histories)[users, positions]
    scores = made.network.scores(states, BATCH.before(users, positions))
    expected = []
    for row, target in zip(scores, BATCH.items[users, positions].tolist(), strict=True):
        others = row[[item for item in range(3) if item != target]]
        if loss == "sampled-softmax":
            expected.append(torch.cat([row[[target]], others]).logsumexp(0) - row[target])
        else:
            power = 1 if loss == "binary" else 0.5 * 3 / 11 + 0.5
            hit = power * row[target].sigmoid().log()
            expected.append(-(hit + (1 - others.sigmoid()).log().sum()) / 4)
    torch.testing.assert_close(made(BATCH).loss, torch.stack(expected).mean())


@pytest.mark.parametrize("loss", OWN)
def test_a_loss_with_own_negatives_falls_while_it_is_learned(loss):
    torch.manual_seed(0)
    made = sasrec(loss=loss, negatives=("popularity", "uniform"), negatives_per_target=4)
    made.prepare(WINDOWS)
    optimizer = torch.optim.Adam(made.parameters(), lr=0.02)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss_now = made(BATCH).loss
        loss_now.backward()
        optimizer.step()
        losses.append(loss_now.item())
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_the_loss_of_the_authors_of_sasrec_is_a_setting():
    made = NextItemConfig(loss="binary")
    assert (made.num_per_target, made.per_target_sources) == (1, ("uniform",))
    assert made.model_dump() == {"label_smoothing": 0.0, "loss": "binary"}
    assert NextItemConfig(**made.model_dump(mode="json")) == made
    assert NextItemConfig(loss="gbce").num_per_target == 256


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "gbce", "item_loss": "sampled"}, "item_loss is of the loss cross-entropy"),
        ({"loss": "gbce", "num_negatives": 9}, "num_negatives is of the loss cross-entropy"),
        ({"loss": "binary", "label_smoothing": 0.1}, "label_smoothing is of the loss cross-ent"),
        ({"loss": "binary", "negatives": ("in_batch", "uniform")}, "not in_batch"),
        ({"loss": "binary", "calibration": 0.5}, "calibration is of the loss gbce"),
        ({"loss": "gbce", "log_q": True}, "log_q is of the loss sampled-softmax"),
        ({"negatives_per_target": 9}, "set loss to sampled-softmax, binary or gbce"),
    ],
)
def test_settings_of_another_loss_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        NextItemConfig(**settings)


def test_a_network_without_rows_has_no_loss_with_own_negatives():
    with pytest.raises(ValueError, match=r"loss is gbce.*Popular has none: set loss to cross-ent"):
        NextItemObjective(Popular(), NextItemConfig(loss="gbce"))
    with pytest.raises(ValueError, match=r"call prepare\(\)"):
        sasrec(loss="binary")(BATCH)


class TestPerTargetNegatives(ObjectiveContract):
    batch = BATCH

    def make(self):
        made = sasrec(loss="gbce", negatives_per_target=3)
        made.prepare(WINDOWS)
        return made
