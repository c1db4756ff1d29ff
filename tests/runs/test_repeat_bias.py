"""A repeat bias: its initial value, which is near its final value."""

import numpy as np
import pytest
import torch

from sidestep.catalog.catalog import Catalog
from sidestep.data.repeats import Repeats
from sidestep.data.windows import Windows, window_batch
from sidestep.model.config import SasRecConfig, TransformerConfig
from sidestep.runs.kinds.sasrec import SasRecRun
from sidestep.runs.kinds.transformer import TransformerRun
from sidestep.step import HistoryBatch, is_named
from sidestep.training.config import TrainingConfig
from sidestep.training.loop import train
from sidestep.training.next_code import NextCodeObjective
from sidestep.training.next_item import NextItemObjective
from sidestep.training.objective_config import NextCodeConfig, NextItemConfig

NUM_ITEMS = 24
SIZES = (4, 6)
LENGTH = 6
NETWORKS = ["transformer", "sasrec"]


def walks(*, repeats: bool, num_users: int = 48) -> Windows:
    """Windows of users who never take an item twice, or only take one of their first two items."""
    generator = np.random.default_rng(0)
    rows = []
    for _ in range(num_users):
        row = generator.permutation(NUM_ITEMS)[:LENGTH]
        if repeats:
            row[2:] = row[generator.integers(0, 2, LENGTH - 2)]
        rows.append(row)
    return Windows(
        items=np.concatenate(rows),
        starts=np.arange(num_users) * LENGTH,
        lengths=np.full(num_users, LENGTH),
        first_target=np.full(num_users, 2),
    )


def network(kind, windows, **shape):
    shape = {"dim": 16, "num_layers": 1, "num_heads": 2, "dropout": 0.0, **shape}
    codes = np.stack(np.unravel_index(np.arange(NUM_ITEMS), SIZES), axis=1)
    catalog = Catalog.build([f"i{item}" for item in range(NUM_ITEMS)], codes, SIZES)
    if kind == "sasrec":
        run = SasRecRun(model=SasRecConfig(**shape, max_items=LENGTH), max_history=LENGTH)
        made = run.network(catalog, windows, seed=0)
        return made, NextItemObjective(made, NextItemConfig())
    tied = {"history": "items", "item_embedding": True, "item_head": True, "tied_item_head": True}
    run = TransformerRun(model=TransformerConfig(**shape, **tied))
    made = run.network(catalog, windows, seed=0)
    return made, NextCodeObjective(made, NextCodeConfig(item_weight=1.0))


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("repeats", [False, True])
def test_a_repeat_bias_begins_at_the_repeats_of_the_data_and_the_other_weights_at_the_seed(
    kind, repeats
):
    windows = walks(repeats=repeats)
    model, _ = network(kind, windows, repeat_bias=True)
    weights = model.state_dict()
    began = 10 * float(weights.pop("item_head.repeat"))
    assert began == pytest.approx(Repeats.of(windows).log_odds(NUM_ITEMS), rel=1e-6)
    assert (began > 0) == repeats
    plain = network(kind, windows)[0].state_dict()
    assert weights.keys() == plain.keys()
    assert all(torch.equal(weights[name], plain[name]) for name in plain)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("repeats", [False, True])
def test_lists_after_a_short_training_hold_seen_items_only_where_people_repeat(
    kind, repeats, tmp_path
):
    """If nobody repeats, leaving out seen items then changes no list."""
    windows = walks(repeats=repeats)
    model, objective = network(kind, windows, repeat_bias=True)
    config = TrainingConfig(epochs=5, batch_size=16, learning_rate=3e-3, device="cpu")
    train(objective, windows, config, folder=tmp_path, seed=0)
    batch = window_batch(windows, np.arange(len(windows)))
    histories = HistoryBatch(items=batch.items, lengths=batch.lengths)
    with torch.no_grad():
        if kind == "sasrec":
            scores = model.scores(model.states(histories)[:, -1], histories)
        else:
            root, _ = model.encode(histories, capacity=0)
            scores = model.item_logits(root.hidden[:, 0], histories)
    is_held = is_named(histories.items, NUM_ITEMS)
    best = scores.topk(2 if repeats else 5, dim=1).indices
    assert is_held.gather(1, best).all() if repeats else not is_held.gather(1, best).any()
