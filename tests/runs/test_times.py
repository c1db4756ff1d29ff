"""Times as inputs, on data of which only the gaps tell what comes next."""

import numpy as np
import pytest

from sidestep.baselines.item_scores import ItemNetworkRecommender
from sidestep.catalog.catalog import Catalog
from sidestep.data.histories import Histories
from sidestep.data.splits import leave_one_out
from sidestep.evaluation.evaluator import evaluate
from sidestep.model.config import GapConfig, SasRecConfig, TransformerConfig
from sidestep.recommender import GenerativeRecommender
from sidestep.runs.kinds.sasrec import SasRecRun
from sidestep.runs.kinds.transformer import TransformerRun
from sidestep.runs.plan import Material
from sidestep.runs.plan_parts import refuse_missing_times
from sidestep.runs.settings import checked
from sidestep.search.beam import BeamSearch
from sidestep.search.policy import Scope
from sidestep.training.config import TrainingConfig, ValidationConfig
from sidestep.training.fit import Course, fit

CODES = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.int32)
SMALL = {"dim": 16, "num_layers": 1, "num_heads": 2, "dropout": 0.0}


@pytest.fixture(scope="module")
def split():
    """After a minute the user takes item 1, after a day item 2, and nothing else tells which."""
    random = np.random.default_rng(0)
    is_day = random.integers(0, 2, (80, 12))
    gaps = np.where(is_day, 86_400, 60) + random.integers(0, 10, is_day.shape)
    histories = Histories(
        items=np.where(is_day, 2, 1).flatten(),
        offsets=np.arange(0, is_day.size + 1, is_day.shape[1]),
        user_ids=tuple(map(str, range(len(is_day)))),
        timestamps=(1_700_000_000 + gaps.cumsum(axis=1)).flatten(),
    )
    return leave_one_out(histories)


def hits(split, config, folder):
    """HR@1 of a trained network on the test rows."""
    catalog = Catalog.build([f"i{item}" for item in range(4)], CODES, (2, 2))
    learning = config.learning(Material(split, catalog, config.max_history), seed=0)
    course = Course(
        training=config.training, folder=folder, seed=0, validation=config.validation, resume=False
    )
    fit(learning, course)
    network = learning.network.eval()
    if isinstance(config, SasRecRun):
        recommender = ItemNetworkRecommender(network, max_history=5)
    else:
        policy = BeamSearch(num_beams=4)
        recommender = GenerativeRecommender(
            network, Scope(trie=catalog.trie), policy, max_history=5
        )
    return evaluate(recommender, split.test, k=2).metrics["HR@1"]


def run_of(kind, times):
    settings = {
        "training": TrainingConfig(epochs=8, batch_size=16, learning_rate=1e-2, device="cpu"),
        "validation": ValidationConfig(num_users=20, num_beams=4),
        "max_history": 5,
    }
    if kind == "sasrec":
        return SasRecRun(model=SasRecConfig(**SMALL, max_items=5, times=times), **settings)
    shape = TransformerConfig(**SMALL, history="items", times=times)
    return TransformerRun(model=shape, **settings)


@pytest.mark.parametrize("kind", ["sasrec", "transformer"])
def test_a_network_with_times_learns_what_only_gaps_tell(kind, split, tmp_path):
    assert hits(split, run_of(kind, True), tmp_path / "with") > 0.95
    assert hits(split, run_of(kind, None), tmp_path / "without") < 0.7


def test_true_and_false_are_settings_of_times():
    made = checked(SasRecRun, {"model": {"times": True}}, "file")
    assert made.model.times == GapConfig()
    assert checked(SasRecRun, {"model": {"times": False}}, "file").model.times is None
    with pytest.raises(ValueError, match=r"model.times.hidden_share: a number is wanted here"):
        checked(SasRecRun, {"model": {"times": {"hidden_share": False}}}, "file")


def test_data_without_times_are_refused(split):
    histories = split.train.histories
    untimed = Histories(
        items=histories.items, offsets=histories.offsets, user_ids=histories.user_ids
    )
    refuse_missing_times(split, reads_times=True)
    refuse_missing_times(leave_one_out(untimed), reads_times=False)
    with pytest.raises(ValueError, match=r"the interactions have no times"):
        refuse_missing_times(leave_one_out(untimed), reads_times=True)
