"""Columns as inputs, on data of which only a column tells what comes next."""

import numpy as np
import polars as pl
import pytest

from sidestep.baselines.item_scores import ItemNetworkRecommender
from sidestep.bundle.columns import with_user_columns
from sidestep.catalog.catalog import Catalog
from sidestep.data.dataset import Dataset
from sidestep.data.histories import Histories
from sidestep.data.interactions import Interactions
from sidestep.data.items import ItemTable
from sidestep.data.splits import Rows, from_given_rows
from sidestep.data.users import UserTable
from sidestep.evaluation.evaluator import evaluate
from sidestep.model.config import ColumnConfig, SasRecConfig, TransformerConfig
from sidestep.recommender import GenerativeRecommender
from sidestep.runs.kinds.sasrec import SasRecRun
from sidestep.runs.kinds.transformer import TransformerRun
from sidestep.runs.plan import Given
from sidestep.runs.settings import checked
from sidestep.search.beam import BeamSearch
from sidestep.search.policy import Scope
from sidestep.training.config import TrainingConfig, ValidationConfig
from sidestep.training.fit import TrainingRun, fit

NUM_TRAINED, NUM_NEW = 40, 40
NUM_ITEMS = 2 + NUM_TRAINED + NUM_NEW
CODES = np.array([[item % 9, item // 9] for item in range(NUM_ITEMS)], dtype=np.int32)
SMALL = {"dim": 16, "num_layers": 1, "num_heads": 2, "dropout": 0.0}


def is_red():
    """Codes of the items after the first two; items of either colour have all codes."""
    return np.random.default_rng(0).integers(0, 2, NUM_TRAINED + NUM_NEW).astype(bool)


def rows_of(items):
    """Each item once as a history, whose colour tells which of the first two items comes next."""
    return Rows(
        histories=Histories(
            items=items,
            offsets=np.arange(len(items) + 1),
            user_ids=tuple(f"row-{item}" for item in items),
        ),
        targets=is_red()[items - 2].astype(np.int64),
    )


@pytest.fixture(scope="module")
def given_colours():
    """A dataset of which a half of the items, those of the rows, is in no training sequence."""
    trained, new = np.arange(2, 2 + NUM_TRAINED), np.arange(2 + NUM_TRAINED, NUM_ITEMS)
    pairs = np.stack([trained, is_red()[trained - 2].astype(np.int64)], axis=1)
    sequences = Histories(
        items=pairs.flatten(),
        offsets=np.arange(0, pairs.size + 1, 2),
        user_ids=tuple(f"user-{item}" for item in trained),
    )
    split = from_given_rows(
        training=sequences,
        validation=rows_of(new),
        test=rows_of(new),
        first_target=np.ones(len(trained), dtype=np.int64),
    )
    colours = ["", "", *np.where(is_red(), "red|bright", "blue|bright").tolist()]
    ids = [f"i{item}" for item in range(NUM_ITEMS)]
    frame = pl.DataFrame({"item_id": ids, "title": ids, "colour": colours})
    interactions = Interactions.from_columns(user_ids=["u"], item_ids=["i0"])
    dataset = Dataset(name="colours", interactions=interactions, items=ItemTable(frame))
    catalog = Catalog.build(ids, CODES, (9, 10), texts=frame.drop("item_id"))
    return dataset, split, catalog


@pytest.fixture(scope="module")
def given_towns():
    """A dataset whose users take item 0 in one town and item 1 in the other, after item 2.

    Those who are judged are in no training sequence.
    """
    is_kiel = np.random.default_rng(1).integers(0, 2, 120)
    ids = [f"u{row}" for row in range(120)]
    judged = Rows(
        histories=Histories(items=np.full(60, 2), offsets=np.arange(61), user_ids=tuple(ids[60:])),
        targets=is_kiel[60:],
    )
    sequences = Histories(
        items=np.stack([np.full(60, 2), is_kiel[:60]], axis=1).flatten(),
        offsets=np.arange(0, 121, 2),
        user_ids=tuple(ids[:60]),
    )
    split = from_given_rows(training=sequences, validation=judged, test=judged)
    names = [f"i{item}" for item in range(NUM_ITEMS)]
    towns = np.where(is_kiel, "Kiel", "Bonn").tolist()
    dataset = Dataset(
        name="towns",
        interactions=Interactions.from_columns(user_ids=["u"], item_ids=["i0"]),
        items=ItemTable(pl.DataFrame({"item_id": names})),
        users=UserTable(pl.DataFrame({"user_id": ids[::-1], "town": towns[::-1]})),
    )
    return dataset, split, Catalog.build(names, CODES, (9, 10))


def run_of(kind, **columns):
    settings = {
        "training": TrainingConfig(epochs=30, batch_size=16, learning_rate=1e-2, device="cpu"),
        "validation": ValidationConfig(num_users=20, num_beams=4),
        "max_history": 5,
    }
    if kind == "sasrec":
        return SasRecRun(model=SasRecConfig(**SMALL, max_items=5, **columns), **settings)
    shape = TransformerConfig(**SMALL, history="items", **columns)
    return TransformerRun(model=shape, **settings)


def hits(given, config, folder):
    """HR@1 of a trained network on the test rows."""
    dataset, split, catalog = given
    plan = config.prepare(Given(dataset=dataset, split=split, catalog=catalog, out=folder, seed=0))
    training = TrainingRun(
        training=config.training, folder=folder, seed=0, validation=config.validation, resume=False
    )
    fit(plan.learning, training)
    network = plan.learning.network.eval()
    if isinstance(config, SasRecRun):
        recommender = ItemNetworkRecommender(network, max_history=5)
    else:
        policy = BeamSearch(num_beams=4)
        recommender = GenerativeRecommender(
            network, Scope(trie=catalog.trie), policy, max_history=5
        )
    rows = with_user_columns(split, plan.learning.network.config.user_columns, dataset.users).test
    return evaluate(recommender, rows, k=2).metrics["HR@1"]


@pytest.mark.parametrize("kind", ["sasrec", "transformer"])
def test_a_network_with_columns_learns_what_only_the_column_of_an_item_tells(
    kind, given_colours, tmp_path
):
    assert hits(given_colours, run_of(kind, item_columns={"colour": "|"}), tmp_path / "with") > 0.9
    assert hits(given_colours, run_of(kind), tmp_path / "without") < 0.75


@pytest.mark.parametrize("kind", ["sasrec", "transformer"])
def test_a_network_with_columns_learns_what_only_the_column_of_a_user_tells(
    kind, given_towns, tmp_path
):
    assert hits(given_towns, run_of(kind, user_columns={"town": None}), tmp_path / "with") > 0.9
    assert hits(given_towns, run_of(kind), tmp_path / "without") < 0.75


@pytest.mark.parametrize("kind", ["sasrec", "transformer"])
def test_columns_of_users_that_the_data_lack_are_refused(
    kind, given_towns, given_colours, tmp_path
):
    dataset, split, catalog = given_towns
    given = Given(dataset=dataset, split=split, catalog=catalog, out=tmp_path, seed=0)
    with pytest.raises(ValueError, match=r"model.user_columns: there is no column 'age'; .* town"):
        run_of(kind, user_columns={"age": None}).prepare(given)
    dataset, split, catalog = given_colours
    given = Given(dataset=dataset, split=split, catalog=catalog, out=tmp_path, seed=0)
    with pytest.raises(ValueError, match=r"model.user_columns .* has no table of users"):
        run_of(kind, user_columns={"town": None}).prepare(given)


@pytest.mark.parametrize("kind", ["sasrec", "transformer"])
def test_a_column_that_no_item_has_is_refused(kind, given_colours, tmp_path):
    dataset, split, catalog = given_colours
    given = Given(dataset=dataset, split=split, catalog=catalog, out=tmp_path, seed=0)
    message = r"model.item_columns: there is no column 'color'; there are: title, colour"
    with pytest.raises(ValueError, match=message):
        run_of(kind, item_columns={"color": None}).prepare(given)


def test_columns_in_a_file_of_settings():
    made = checked(SasRecRun, {"model": {"item_columns": {"genre": "|", "brand": None}}}, "file")
    assert made.model.item_columns == {
        "genre": ColumnConfig(separator="|"),
        "brand": ColumnConfig(),
    }
    assert checked(SasRecRun, made.model_dump(mode="json"), "file") == made
    with pytest.raises(ValueError, match=r"model.item_columns.genre"):
        checked(SasRecRun, {"model": {"item_columns": {"genre": 3}}}, "file")
