"""Alignment on an invented shop, where the best answer to every history is known exactly."""

import numpy as np
import pytest
import torch

from sidestep.catalog.catalog import Catalog
from sidestep.catalog.leaf_embeddings import LeafEmbeddings
from sidestep.data.splits import leave_one_out
from sidestep.data.synthetic import SyntheticShopConfig, synthetic_shop
from sidestep.data.windows import training_windows, window_batch
from sidestep.model.config import TransformerConfig, ValueHeadConfig
from sidestep.model.transformer import Transformer
from sidestep.model.value_head import ValueHead
from sidestep.search.beam import BeamSearch
from sidestep.search.policy import Scope
from sidestep.training.alignment import AlignmentObjective
from sidestep.training.alignment_config import AlignmentConfig
from sidestep.training.config import TrainingConfig
from sidestep.training.loop import train

from .test_alignment import ALGORITHMS

DATASET, TRUTH = synthetic_shop(
    SyntheticShopConfig(
        num_users=150, num_departments=2, kinds_per_department=2, items_per_kind=6, max_length=20
    ),
    seed=0,
)
KINDS = TRUTH.kind_of
PLACES = np.array([(KINDS[:item] == kind).sum() for item, kind in enumerate(KINDS)])
CATALOG = Catalog.build(
    [str(item) for item in range(len(KINDS))], np.stack([KINDS, PLACES], axis=1), (4, 6)
)
WINDOWS = training_windows(leave_one_out(DATASET.histories(), min_context=1).train, 20)

BY_VALUES = {
    "rollouts": {"search": "ved", "budget": 24, "num_leaves": 12, "warm_width": 4},
    "value": {},
}

RECIPES = {
    **ALGORITHMS,
    "grpo-ved": BY_VALUES,
    "sibling-ved": {**BY_VALUES, "group_weight": None, "sibling_weight": 1.0},
    "vstar": {**BY_VALUES, "sibling_weight": 1.0},
}


def true_probs(histories) -> torch.Tensor:
    return torch.from_numpy(TRUTH.next_item_probs(histories)).float()


def reward(scene) -> torch.Tensor:
    """True probability of each candidate; every item is a leaf of its own."""
    items = scene.trie.items(scene.leaves)[..., 0].clamp(min=0)
    return true_probs(scene.histories).gather(1, items)


def share_of_the_best(policy: Transformer) -> float:
    """True probability of the first recommendations, as a share of that of the best ones."""
    batch = window_batch(WINDOWS, np.arange(len(WINDOWS)))
    users, positions = batch.is_target.nonzero(as_tuple=True)
    histories = batch.before(users, positions)
    probs = true_probs(histories)
    found = BeamSearch(num_beams=24).search(policy.eval(), histories, Scope(trie=CATALOG.trie))
    first = CATALOG.trie.items(found.leaves[:, :1])[:, :, 0]
    return float((probs.gather(1, first)[:, 0] / probs.amax(dim=1)).mean())


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_every_algorithm_climbs_towards_the_truth(tmp_path, recipe):
    torch.manual_seed(0)
    shape = TransformerConfig(
        dim=16, num_layers=1, num_heads=2, history="items", item_embedding=True, dropout=0.0
    )
    policy = Transformer(shape, CATALOG.semantic_ids, CATALOG.codebook_sizes)
    settings = {"rollouts": {"search": "beam", "num_beams": 24}, "kl_weight": None, **recipe}
    objective = AlignmentObjective(
        policy,
        Scope(trie=CATALOG.trie),
        reward,
        # The reward is a user's own; only its needs are looked up by its name.
        AlignmentConfig.model_validate({"rewards": [{"reward": "novelty"}], **settings}),
        head=ValueHead(ValueHeadConfig(num_heads=2), dim=16, num_levels=2),
        embeddings=LeafEmbeddings.of(
            torch.eye(4)[torch.from_numpy(KINDS)], Scope(trie=CATALOG.trie)
        ),
    )
    before = share_of_the_best(policy)
    config = TrainingConfig(
        epochs=2, batch_size=32, learning_rate=0.01, weight_decay=0.0, device="cpu"
    )
    train(objective, WINDOWS, config, folder=tmp_path, seed=0)
    # Two epochs are twice what is needed: each recipe reaches this after five of ten steps.
    after = share_of_the_best(policy)
    assert after > 2 * before, (before, after)
