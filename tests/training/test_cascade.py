"""The losses of COBRA: both by hand, over the catalog and over the batch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from sidestep.data.windows import Windows
from sidestep.model.cobra import Cobra
from sidestep.model.config import CobraConfig
from sidestep.padding import NO_ITEM
from sidestep.step import HistoryBatch
from sidestep.training.cascade import CascadeObjective
from sidestep.training.objective_config import CascadeConfig

from .objective_contract import ObjectiveContract
from .test_next_code import BATCH

IDS = torch.tensor([[0, 1, 0], [1, 1, 0], [1, 1, 1], [0, 0, 0]])
SIZES = (2, 2, 2)


def objective(**config) -> CascadeObjective:
    torch.manual_seed(0)
    shape = CobraConfig(
        dim=8, num_layers=1, num_heads=2, dropout=0.0, vector_dim=3, temperature=0.5
    )
    network = Cobra(shape, IDS, SIZES)
    network.set_item_vectors(torch.randn(4, 3).numpy())
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return CascadeObjective(network, CascadeConfig(**config))


class TestCascade(ObjectiveContract):
    batch = BATCH

    def make(self):
        return objective()


def losses_of(made, item, before):
    """L_sparse and the cosines over the temperature of one target, from a search's calls alone."""
    history = HistoryBatch(items=before[None], lengths=torch.tensor([len(before)]))
    step, context = made.model.encode(history, capacity=2)
    sparse = 0.0
    for depth, code in enumerate(IDS[item, :2].tolist()):
        sparse -= float(step.logits[0, 0].log_softmax(-1)[code])
        node = torch.tensor([[depth]])
        step, context = made.model.extend(
            context, torch.full_like(node, code), node, node + 1, is_node=node >= 0
        )
    vectors = made.model.dense_vectors(torch.arange(4))
    return sparse, torch.cosine_similarity(step.hidden[0], vectors) / 0.5


@torch.no_grad()
@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_is_that_of_the_sparse_id_and_that_of_the_vector_by_hand(weighted):
    made = objective(dense_weight=0.25)
    weights = torch.tensor([[9.0, 0.5, 1.0], [0.25, 2.0, 9.0]])
    batch = replace(BATCH, target_weights=weights) if weighted else BATCH
    of_sparse = of_dense = 0.0
    for user, position in BATCH.is_target.nonzero().tolist():
        item = int(BATCH.items[user, position])
        weight = float(weights[user, position]) if weighted else 1.0
        sparse, scores = losses_of(made, item, BATCH.items[user, :position])
        of_sparse += weight * sparse / 4
        of_dense -= weight * float(scores.log_softmax(-1)[item]) / 4
    loss = made(batch)
    assert set(loss.parts) == {"code_1", "code_2", "dense"}
    assert float(loss.parts["dense"]) == pytest.approx(of_dense, abs=1e-5)
    assert float(loss.parts["code_1"] + loss.parts["code_2"]) == pytest.approx(of_sparse, abs=1e-5)
    assert float(loss.loss) == pytest.approx(of_sparse + 0.25 * of_dense, abs=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("form", ["exact", "in_batch"])
def test_in_batch_an_item_that_is_no_target_does_not_count(form):
    """Item 0 is nowhere in the batch."""
    sampled = {"item_loss": "sampled", "negatives": ["in_batch"]}
    made = objective(**(sampled if form == "in_batch" else {"item_loss": "exact"}))
    starts, lengths = np.array([0, 3]), np.array([3, 2])
    items = np.array([3, 2, 1, 3, 1], dtype=np.int32)
    made.prepare(
        Windows(items=items, starts=starts, lengths=lengths, first_target=np.array([1, 0]))
    )
    batch = replace(BATCH, items=torch.tensor([[3, 2, 1], [3, 1, NO_ITEM]]))
    before = float(made(batch).parts["dense"])
    made.model.item_vectors[0] *= -1
    assert (float(made(batch).parts["dense"]) == pytest.approx(before)) == (form == "in_batch")


def test_the_encoder_of_the_vectors_learns():
    made = objective()
    made(BATCH).loss.backward()
    assert all(bool(weight.grad.any()) for weight in made.model.encoder.parameters())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"item_weight": 1.0}, "belongs to an item head, and COBRA has none"),
        ({"item_weight": 1.0, "distillation_weight": 1.0}, "COBRA has none"),
        ({"negatives": ["beam", "uniform"]}, "COBRA has no source beam"),
        ({"dense_weight": 0.0}, "greater than 0"),
    ],
)
def test_settings_of_an_item_head_are_refused(settings, words):
    with pytest.raises(ValidationError, match=words):
        CascadeConfig(**settings)
