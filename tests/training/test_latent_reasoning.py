from dataclasses import replace

import numpy as np
import pytest
import torch

from sidestep.data.windows import Windows, window_batch
from sidestep.model.config import DiffuReasonConfig, LaresConfig, ReaRecConfig
from sidestep.model.diffureason import DiffuReason
from sidestep.model.lares import Lares
from sidestep.model.rearec import ReaRec
from sidestep.training import latent_reasoning
from sidestep.training.latent_reasoning import (
    AlignedDepthObjective,
    EnsembleReasoningObjective,
    ProgressiveReasoningObjective,
    RefinementObjective,
)
from sidestep.training.objective_config import (
    AlignedDepthConfig,
    ReasoningConfig,
    RefinementConfig,
)

from .objective_contract import ObjectiveContract

WINDOWS = Windows(
    items=np.array([0, 2, 1, 3, 1]),
    starts=np.array([0, 3]),
    lengths=np.array([3, 2]),
    first_target=np.array([1, 0]),
)
BATCH = window_batch(WINDOWS, np.arange(2))
"""Item 2 after (0), item 1 after (0, 2); item 3 after nothing, item 1 after (3)."""

SHAPE = {"dim": 8, "num_layers": 1, "max_items": 2, "dropout": 0.0}


def tell_apart(network) -> None:
    """Makes the weights so large that the steps of a chain differ."""
    for weights in network.parameters():
        if weights.ndim > 1:
            torch.nn.init.normal_(weights, std=0.6)


def ensemble(**config) -> EnsembleReasoningObjective:
    torch.manual_seed(0)
    network = ReaRec(ReaRecConfig(**SHAPE, reasoning="ensemble"), 5)
    tell_apart(network)
    return EnsembleReasoningObjective(network, ReasoningConfig(**config))


def progressive(model=(), **config) -> ProgressiveReasoningObjective:
    torch.manual_seed(0)
    network = ReaRec(ReaRecConfig(**SHAPE, **dict(model)), 5)
    tell_apart(network)
    return ProgressiveReasoningObjective(network, ReasoningConfig(**config))


def aligned(model=(), **config) -> AlignedDepthObjective:
    torch.manual_seed(0)
    network = Lares(LaresConfig(**SHAPE, mean_depth=2, **dict(model)), 5)
    made = AlignedDepthObjective(network, AlignedDepthConfig(**config))
    made.prepare(WINDOWS)
    return made


def refinement(**config) -> RefinementObjective:
    torch.manual_seed(0)
    shape = DiffuReasonConfig(**SHAPE, temperature=None, num_noise_levels=6, num_refinements=2)
    network = DiffuReason(shape, 5)
    tell_apart(network)
    return RefinementObjective(network, RefinementConfig(**config))


class TestEnsemble(ObjectiveContract):
    batch = BATCH

    def make(self):
        return ensemble()


class TestProgressive(ObjectiveContract):
    batch = BATCH

    def make(self):
        return progressive()


class TestAlignedDepth(ObjectiveContract):
    batch = BATCH

    def make(self):
        return aligned()


class TestRefinement(ObjectiveContract):
    batch = BATCH

    def make(self):
        return refinement()


def chains_of(objective):
    """The chains at the four targets, and the items of the targets."""
    histories = replace(BATCH.histories.without_last(), lengths=BATCH.lengths - 1)
    chains = objective.network.chains(histories)
    return chains[[0, 0, 1, 1], [1, 2, 0, 1]], torch.tensor([2, 1, 3, 1])


def loss_of(objective, states, items, temperature=1.0):
    scores = states @ objective.network.item_embedding.weight.T / temperature
    return torch.nn.functional.cross_entropy(scores, items)


def test_an_ensemble_learns_at_the_mean_of_its_steps_which_differ():
    made = ensemble(diversity_weight=0.3)
    chains, items = chains_of(made)
    loss = made(BATCH)
    item = loss_of(made, chains.mean(dim=1), items)
    logs = (chains @ made.network.item_embedding.weight.T).log_softmax(dim=-1)
    diversity = 0.0
    for own in range(3):
        for other in range(3):
            apart = (logs[:, own].exp() * (logs[:, own] - logs[:, other])).sum(dim=1).mean()
            diversity = diversity + apart / 6
    assert diversity > 0.01
    torch.testing.assert_close(loss.parts["diversity"], diversity.detach())
    torch.testing.assert_close(loss.loss, item - 0.3 * diversity)


@pytest.mark.parametrize("temperature", [None, 0.5])
def test_the_steps_before_the_last_learn_flatter_distributions(temperature):
    made = progressive(
        {"temperature": temperature}, temperature_decay=3.0, steps_weight=0.5, contrast_weight=0.0
    )
    chains, items = chains_of(made)
    if temperature is not None:
        norm = torch.nn.functional.normalize
        chains = norm(chains, dim=-1) / temperature
        with torch.no_grad():
            made.network.item_embedding.weight.copy_(norm(made.network.item_embedding.weight))
        chains = norm(chains_of(made)[0], dim=-1) / temperature
    item = loss_of(made, chains[:, 2], items)
    earlier = loss_of(made, chains[:, 0], items, 9.0) + loss_of(made, chains[:, 1], items, 3.0)
    torch.testing.assert_close(made(BATCH).loss, item + 0.5 * earlier / 2)


def test_a_chain_is_told_from_chains_of_other_windows_with_noise_on_it():
    made = progressive(contrast_weight=0.4, contrast_temperature=0.5, steps_weight=0.0, noise=0.0)
    chains, items = chains_of(made)
    contrast = 0.0
    for step in (1, 2):  # the first state of a chain has no noise
        states = torch.nn.functional.normalize(chains[:, step], dim=-1)
        shares = (states @ states.T / 0.5).exp()
        for row, others in enumerate([[2, 3], [2, 3], [0, 1], [0, 1]]):
            total = shares[row, row] + shares[row, others].sum()
            contrast = contrast - (shares[row, row] / total).log() / 8
    loss = made(BATCH)
    torch.testing.assert_close(loss.parts["contrast"], contrast.detach())
    torch.testing.assert_close(loss.loss, loss_of(made, chains[:, 2], items) + 0.4 * contrast)
    loud = progressive(contrast_weight=0.4, contrast_temperature=0.5, noise=2.0)
    assert not loud(BATCH).parts["contrast"].allclose(contrast.detach(), atol=1e-3)


def alignment(made, monkeypatch, places) -> tuple[float, float]:
    """The agreement of trajectories and of steps, where a window aligns the target at its place."""
    chosen = (torch.arange(2), torch.tensor(places))
    monkeypatch.setattr(latent_reasoning, "_one_target_each", lambda _: chosen)
    made.network.draw_depth = lambda: 2
    parts = made(BATCH).parts
    return parts["trajectories"].item(), parts["steps"].item()


def symmetric(ours, theirs) -> float:
    scores = ours @ theirs.T
    both = [scores.log_softmax(dim=axis).diagonal().mean() for axis in (0, 1)]
    return -sum(both).item() / 2


def test_a_history_agrees_with_one_of_the_same_next_item_and_a_chain_with_itself(monkeypatch):
    """Without noise and at a fixed depth, all states follow from the histories."""
    made = aligned({"state_scale": 0.0})
    chains, _ = chains_of(made)
    last, early = chains[:, 1], chains[:, 0]
    # Items 2 and 3 follow one history each, which is its own partner.
    found = alignment(made, monkeypatch, [1, 0])
    own = [0, 2]
    assert found == pytest.approx(
        (symmetric(last[own], last[own]), symmetric(last[own], early[own])), abs=1e-5
    )
    # Item 1 follows (0, 2) and (3), and either may be drawn; item 3 follows nothing.
    own, partners = [1, 2], ([1, 2], [3, 2])
    expected = {round(symmetric(last[own], last[other]), 4) for other in partners}
    torch.manual_seed(0)
    drawn = {round(alignment(made, monkeypatch, [2, 0])[0], 4) for _ in range(12)}
    assert drawn == expected
    # Two windows with the next item 1 are no negatives of each other, so nothing is lost.
    assert alignment(made, monkeypatch, [2, 1]) == (0.0, 0.0)


@pytest.mark.parametrize("seed", range(3))
def test_each_window_aligns_one_of_its_targets(seed):
    torch.manual_seed(seed)
    rows, places = latent_reasoning._one_target_each(BATCH)
    assert rows.tolist() == [0, 1]
    assert BATCH.is_target[rows, places].all()


def test_the_parts_are_added_by_their_weights():
    made = aligned(trajectory_weight=0.3, step_weight=0.7)
    loss = made(BATCH)
    parts = loss.parts
    expected = parts["item"] + 0.3 * parts["trajectories"] + 0.7 * parts["steps"]
    torch.testing.assert_close(loss.loss.detach(), expected)


def test_alignment_needs_the_windows():
    made = aligned()
    made._same_targets = None
    with pytest.raises(ValueError, match="call prepare"):
        made(BATCH)


def test_a_refined_vector_learns_the_next_item_and_the_denoiser_its_vector():
    made = refinement(denoising_weight=0.3).train()
    network = made.network
    histories = replace(BATCH.histories.without_last(), lengths=BATCH.lengths - 1)
    torch.manual_seed(3)
    thoughts = network.think(network.inputs(histories))
    chains = network.refine(thoughts, torch.randn_like(thoughts))
    rows, items = ([0, 0, 1, 1], [1, 2, 0, 1]), torch.tensor([2, 1, 3, 1])
    item = loss_of(made, chains[rows][:, -1], items)
    vectors = network.item_embedding.weight[items].detach()
    clean = 8**0.5 * vectors / vectors.norm(dim=1, keepdim=True)
    levels = torch.randint(1, 7, (4,))
    noise = torch.randn(4, 8)
    error = 0.0
    for row, (level, thought) in enumerate(zip(levels, thoughts[rows], strict=True)):
        share = network.signal_shares[level]
        noisy = share.sqrt() * clean[row] + (1 - share).sqrt() * noise[row]
        error = error + (network.denoiser(noisy, level, thought) - clean[row]).square().sum() / 32
    torch.manual_seed(3)
    loss = made(BATCH)
    torch.testing.assert_close(loss.parts["item"], item.detach())
    torch.testing.assert_close(loss.parts["denoising"], error.detach())
    torch.testing.assert_close(loss.loss, item + 0.3 * error)


def test_the_error_of_the_denoiser_moves_no_vector_that_is_only_a_target():
    gradients = []
    for weight in (0.0, 1.0):
        made = refinement(denoising_weight=weight).train()
        torch.manual_seed(3)
        made(BATCH).loss.backward()
        gradients.append(made.network.item_embedding.weight.grad)
    is_moved = (gradients[1] - gradients[0]).abs().amax(dim=1) > 1e-4
    # Items 0, 2 and 3 are read; item 1 is only a target.
    assert is_moved.tolist() == [True, False, True, True, False]


def test_without_training_the_loss_is_that_of_the_lists():
    made = refinement().eval()
    chains, items = chains_of(made)
    expected = loss_of(made, chains[:, -1], items).detach()
    torch.testing.assert_close(made(BATCH).parts["item"], expected)
