"""Preference training: the next item gains on the items that the policy would have recommended."""

import json

import pytest
import torch

from sidestep.search.beam import BeamSearch
from sidestep.training.config import TrainingConfig
from sidestep.training.loop import train
from sidestep.training.objective_config import PreferenceConfig
from sidestep.training.preference import PreferenceObjective

from . import test_alignment_on_sets
from .test_alignment import (
    BATCH,
    LEAVES,
    RING,
    SCOPE,
    a_policy,
    first_choices,
    improved,
    windows_of,
)


def an_objective(policy=None, space=SCOPE, **config) -> PreferenceObjective:
    settings = {"candidates": {"search": "beam", "num_beams": 6}, **config}
    return PreferenceObjective(
        policy or a_policy(), space, PreferenceConfig.model_validate(settings)
    ).train()


def test_at_the_first_step_nobody_has_gained():
    """Policy and reference are equal, dropout is off: S-DPO with five rejected is log(1 + 5)."""
    parts = an_objective()(BATCH).parts
    torch.testing.assert_close(parts["preference"], torch.tensor(6.0).log())
    assert float(parts["margin"]) == 0
    assert float(parts["found"]) == 1


def test_a_policy_over_sets_learns_preferences_too():
    policy = test_alignment_on_sets.a_policy()
    objective = an_objective(policy, space=test_alignment_on_sets.SPACE)
    parts = objective(RING).parts
    torch.testing.assert_close(parts["preference"], torch.tensor(6.0).log())
    assert float(parts["found"]) == 1
    before = test_alignment_on_sets.share_of_targets(policy)
    improved(objective, num_steps=20, learning_rate=0.01)
    assert test_alignment_on_sets.share_of_targets(policy) > 2 * before


@pytest.mark.parametrize("num_rejected", [1, 2, 4])
def test_no_more_are_rejected_than_asked_for(num_rejected):
    """S-DPO of n rejected items begins at log(1 + n); five are found besides each target."""
    parts = an_objective(num_rejected=num_rejected)(BATCH).parts
    torch.testing.assert_close(parts["preference"], torch.tensor(1.0 + num_rejected).log())


def test_the_best_of_the_others_are_rejected():
    """With one rejected candidate, only the likeliest wrong item is pushed down."""
    policy = a_policy()
    objective = an_objective(policy, num_rejected=1)
    one = BATCH.items[1:, :2]
    from_one = type(BATCH)(
        items=one,
        lengths=torch.tensor([2]),
        is_target=torch.tensor([[False, True]]),
        num_targets=1,
    )
    history = from_one.before(torch.tensor([0]), torch.tensor([1]))
    found = BeamSearch(num_beams=6).search(policy.eval(), history, SCOPE)
    right = int(LEAVES[int(one[0, 1])])
    best_wrong = next(leaf for leaf in found.leaves[0].tolist() if leaf != right)
    optimizer = torch.optim.SGD(policy.parameters(), lr=0.01)
    objective(from_one).loss.backward()
    optimizer.step()
    after = BeamSearch(num_beams=6).search(policy.eval(), history, SCOPE)

    def log_prob(answer, leaf):
        return float(answer.log_probs[0][answer.leaves[0] == leaf])

    gained = {leaf: log_prob(after, leaf) - log_prob(found, leaf) for leaf in (right, best_wrong)}
    assert gained[right] > gained[best_wrong]


def test_every_step_draws_candidates_anew():
    objective = an_objective(candidates={"search": "sampling", "num_samples": 1, "temperature": 5})
    found = []
    for _ in range(12):
        found.append(float(objective(BATCH).parts["found"]))
        objective.after_step()
    assert len(set(found)) > 1


def test_it_climbs_to_the_known_optimum(tmp_path):
    objective = an_objective(beta=1.0)
    config = TrainingConfig(
        epochs=20, batch_size=12, learning_rate=0.03, weight_decay=0.0, device="cpu", log_every=2
    )
    train(objective, windows_of(), config, folder=tmp_path, seed=0)
    assert first_choices(objective.policy) == [1, 2, 3, 4, 5, 0]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    last = [line["parts"] for line in lines if line["kind"] == "step"][-1]
    assert last["preferred"] == 1
    assert last["margin"] > 0


def test_likelihood_beside_is_added():
    plain, both = an_objective(), an_objective(likelihood_weight=2.0)
    first, second = plain(BATCH), both(BATCH)
    expected = first.loss - 2 * first.parts["target_log_prob"]
    torch.testing.assert_close(second.loss, expected)


def test_a_search_by_values_that_would_not_follow_is_refused():
    with pytest.raises(ValueError, match="ved searches by values"):
        PreferenceConfig.model_validate({"candidates": {"search": "ved"}})
