"""Training of each kind of run, on a shop of a dozen items: from the split to the best weights."""

import numpy as np
import pytest
import torch

from sidestep.baselines.item_scores import ItemNetworkRecommender
from sidestep.catalog.catalog import Catalog
from sidestep.data.histories import Histories
from sidestep.data.splits import Split, leave_one_out
from sidestep.evaluation.evaluator import evaluate, fixed_users
from sidestep.model.config import SasRecConfig, TransformerConfig
from sidestep.recommender import GenerativeRecommender
from sidestep.runs.kinds.sasrec import SasRecRun
from sidestep.runs.kinds.transformer import TransformerRun
from sidestep.runs.plan import Material
from sidestep.search.beam import BeamSearch
from sidestep.search.policy import Scope
from sidestep.training.config import TrainingConfig, ValidationConfig
from sidestep.training.fit import TrainingRun, fit
from sidestep.training.objective_config import NextCodeConfig, NextItemConfig

NUM_ITEMS = 12
SIZES = (3, 4)
TRAINING = TrainingConfig(epochs=2, batch_size=8, device="cpu")


def a_split(num_items: int = NUM_ITEMS) -> Split:
    """Users who go round the items in steps of one."""
    rows = [(np.arange(5) + start) % num_items for start in range(num_items)]
    histories = Histories(
        items=np.concatenate(rows),
        offsets=np.arange(0, 5 * num_items + 1, 5),
        user_ids=tuple(map(str, range(num_items))),
    )
    return leave_one_out(histories, min_context=0)


def a_catalog(num_items: int = NUM_ITEMS) -> Catalog:
    codes = np.stack(np.unravel_index(np.arange(num_items), SIZES), axis=1)
    return Catalog.build([f"i{item}" for item in range(num_items)], codes, SIZES)


def fitted(config, folder, *, seed: int, resume: bool = False, catalog: Catalog | None = None):
    """The trained network of a run, and the result of its training."""
    material = Material(a_split(), catalog or a_catalog(), config.max_history)
    learning = config.learning(material, seed=seed)
    run = TrainingRun(
        training=config.training,
        folder=folder,
        seed=seed,
        validation=config.validation,
        resume=resume,
    )
    result = fit(learning, run)
    return learning.network, result


def trained(
    folder,
    *,
    model: TransformerConfig,
    objective: NextCodeConfig,
    seed: int = 3,
    max_history: int = 4,
    num_beams: int = 4,
):
    config = TransformerRun(
        model=model,
        objective=objective,
        training=TRAINING,
        max_history=max_history,
        validation=ValidationConfig(num_users=6, num_beams=num_beams),
    )
    return fitted(config, folder, seed=seed)


@pytest.mark.parametrize(
    ("model", "objective"),
    [
        ({}, {"label_smoothing": 0.1}),
        (
            {"history": "items", "item_embedding": True, "item_head": True},
            {"item_weight": 0.5, "distillation_weight": 1.0},
        ),
    ],
)
def test_a_transformer_ends_with_the_weights_of_its_best_validation(tmp_path, model, objective):
    shape = TransformerConfig(dim=8, num_layers=1, num_heads=2, **model)
    first, result = trained(tmp_path / "a", model=shape, objective=NextCodeConfig(**objective))
    again, _ = trained(tmp_path / "b", model=shape, objective=NextCodeConfig(**objective))
    assert result.stopped == "finished"
    assert 0 <= result.best_score <= 1
    assert not first.training
    for name, weights in first.state_dict().items():
        assert torch.equal(weights, again.state_dict()[name])


def sasrec(folder, *, max_history: int = 4, resume: bool = False, catalog=None, **shape):
    config = SasRecRun(
        model=SasRecConfig(dim=8, num_layers=1, num_heads=2, max_items=4, **shape),
        objective=NextItemConfig(),
        training=TRAINING,
        max_history=max_history,
    )
    return fitted(config, folder, seed=0, resume=resume, catalog=catalog)


@pytest.mark.parametrize("code_embedding", [False, True])
def test_sasrec_is_trained_by_the_same_loop(code_embedding, tmp_path):
    _, result = sasrec(tmp_path, code_embedding=code_embedding)
    assert result.stopped == "finished"
    assert result.best_epoch in (1, 2)


def other_catalog() -> Catalog:
    codes = np.stack(np.unravel_index(np.arange(NUM_ITEMS)[::-1], SIZES), axis=1)
    return Catalog.build([f"i{item}" for item in range(NUM_ITEMS)], codes, SIZES)


def test_sasrec_reads_the_codes_of_the_catalog_only_if_it_is_asked_to(tmp_path):
    for code_embedding in (False, True):
        weights = [
            sasrec(tmp_path / f"{code_embedding}-{row}", catalog=catalog, **shape)[0].state_dict()
            for row, catalog in enumerate((a_catalog(), other_catalog()))
            for shape in ({"code_embedding": code_embedding},)
        ]
        first, second = (each["item_embedding.weight"] for each in weights)
        assert torch.equal(first, second) != code_embedding


def test_sasrec_that_reads_codes_is_not_resumed_with_other_codes(tmp_path):
    sasrec(tmp_path, code_embedding=True)
    with pytest.raises(ValueError, match="catalog"):
        sasrec(tmp_path, code_embedding=True, resume=True, catalog=other_catalog())


@pytest.mark.parametrize("kind", ["transformer", "sasrec"])
def test_validation_reads_as_much_of_a_history_as_training_does(tmp_path, kind):
    if kind == "sasrec":
        network, result = sasrec(tmp_path, max_history=1)
        recommender = ItemNetworkRecommender(network, max_history=1)
        whole = ItemNetworkRecommender(network)
    else:
        shape = TransformerConfig(dim=8, num_layers=1, num_heads=2)
        network, result = trained(
            tmp_path, model=shape, objective=NextCodeConfig(), max_history=1, num_beams=NUM_ITEMS
        )
        trie, policy = a_catalog().trie, BeamSearch(num_beams=NUM_ITEMS)
        recommender = GenerativeRecommender(network, Scope(trie=trie), policy, max_history=1)
        whole = GenerativeRecommender(network, Scope(trie=trie), policy, max_history=None)
    rows = a_split().validation
    if kind == "transformer":
        rows = rows.select(fixed_users(len(rows), 6))
    score, of_whole = (evaluate(by, rows, k=10).metrics["NDCG@10"] for by in (recommender, whole))
    assert result.best_score == score
    assert score != of_whole


def test_a_split_of_another_catalog_is_refused():
    with pytest.raises(ValueError, match="names item 11, but the catalog has 11 items"):
        Material(a_split(), a_catalog(11), 4)
    with pytest.raises(ValueError, match="names item 12, but the catalog has 12 items"):
        Material(a_split(13), a_catalog(), 4)


def test_a_history_longer_than_sasrec_sees_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"max_history is 5, .* at most 4 items"):
        sasrec(tmp_path, max_history=5)


def test_a_run_is_not_resumed_with_another_length_of_history(tmp_path):
    sasrec(tmp_path, max_history=4)
    with pytest.raises(ValueError, match="max_history"):
        sasrec(tmp_path, max_history=3, resume=True)
