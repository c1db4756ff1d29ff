"""The contract of objectives: a base class of tests, with one subclass per objective."""

import copy

import pytest
import torch
from torch import nn

from sidestep.data.windows import WindowBatch
from sidestep.training.objective import DrawingObjective, Objective

NUM_STEPS = 3


class ObjectiveContract:
    """Tests of an objective; a subclass gives `batch` and `make`, which makes equal objectives."""

    batch: WindowBatch

    draws_by_place = False
    """Whether the objective draws by the step and the place in the batch, and not by the seed."""

    def make(self) -> Objective:
        raise NotImplementedError

    @pytest.fixture
    def objective(self) -> Objective:
        return self.make().train()

    def test_every_weight_that_learns_is_declared_once(self, objective):
        learning = {name for name, one in objective.named_parameters() if one.requires_grad}
        assert learning
        declared = [
            id(one)
            for module in objective.trained.values()
            for one in module.parameters()
            if one.requires_grad
        ]
        assert sorted(declared) == sorted(
            id(one) for one in objective.parameters() if one.requires_grad
        )

    def test_what_is_trained_has_gradients_and_moves(self, objective):
        before = copied(objective.trained)
        step(objective, self.batch)
        for name, module in objective.trained.items():
            for weight, one in module.named_parameters():
                assert (one.grad is not None) == one.requires_grad, f"{name}.{weight}"
            assert is_changed(before[name], module), name

    def test_what_is_frozen_has_no_gradient_and_stays(self, objective):
        before = copied(objective.frozen)
        for _ in range(NUM_STEPS):
            step(objective, self.batch)
        for name, module in objective.frozen.items():
            assert not is_changed(before[name], module), name
            assert all(one.grad is None for one in module.parameters()), name

    def test_copies_follow_their_rule(self, objective):
        sources = {kept.source for kept in objective.copies.values()}
        assert sources <= objective.trained.keys()
        first = copied(objective.trained)
        for done in range(1, NUM_STEPS + 1):
            step(objective, self.batch)
            for name, kept in objective.copies.items():
                assert not any(one.requires_grad for one in kept.module.parameters()), name
                source = objective.trained[kept.source]
                is_first_time = kept.every_steps is None or done < kept.every_steps
                if kept.every_steps is not None and done % kept.every_steps == 0:
                    assert not is_changed(kept.module, source), (name, done)
                elif is_first_time:
                    assert not is_changed(kept.module, first[kept.source]), (name, done)
                    assert is_changed(kept.module, source), (name, done)

    def test_no_module_is_hidden_from_placement(self, objective):
        """A call of `to` reaches every module that is declared."""
        objective.to(torch.float64)
        copies = {name: kept.module for name, kept in objective.copies.items()}
        for declared in (objective.trained, objective.frozen, copies):
            for name, module in declared.items():
                assert all(one.dtype == torch.float64 for one in module.parameters()), name

    def test_a_checkpoint_keeps_what_changes_and_nothing_else(self, objective):
        kept = {name.partition(".")[0] for name in objective.state_dict()}
        for name, one in objective.copies.items():
            assert (name in kept) == (one.every_steps is not None), name
        assert all(name not in kept for name in objective.frozen if name != "head")

    def test_resumed_it_goes_on_as_if_it_had_never_stopped(self, objective):
        for _ in range(2):
            step(objective, self.batch)
        resumed = self.make().train()
        resumed.load_state_dict(copy.deepcopy(objective.state_dict()))
        for _ in range(2):
            torch.manual_seed(7)
            whole = step(objective, self.batch)
            torch.manual_seed(7)
            assert torch.equal(step(resumed, self.batch), whole)
        for name, weights in objective.state_dict().items():
            assert torch.equal(resumed.state_dict()[name], weights), name

    def test_the_shares_of_a_batch_make_its_loss_where_processes_may_share_it(self, objective):
        if objective.whole_batch_term is not None:
            pytest.skip("several processes refuse this objective")
        objective.eval()
        number = len(self.batch.lengths)
        assert number > 1
        shares = [share_of(self.batch, torch.arange(number) % 2 == own) for own in range(2)]
        # The log adds the parts of all processes up, so all must have the same parts.
        names = [list(objective(batch).parts) for batch in (self.batch, *shares)]
        assert names[0] == names[1] == names[2]
        whole = seeded_loss(objective, self.batch, seed=1)
        if self.draws_by_place or whole != seeded_loss(objective, self.batch, seed=2):
            pytest.skip("each process draws for itself")
        total = sum(seeded_loss(objective, share, seed=1) * share.num_targets for share in shares)
        assert total / self.batch.num_targets == pytest.approx(whole, rel=1e-4)


def seeded_loss(objective: Objective, batch: WindowBatch, *, seed: int) -> float:
    torch.manual_seed(seed)
    with torch.no_grad():
        return float(objective(batch).loss)


def share_of(batch: WindowBatch, is_own: torch.Tensor) -> WindowBatch:
    """Some windows of a batch, as the share of a process."""

    def own(tensor: torch.Tensor | None) -> torch.Tensor | None:
        return None if tensor is None else tensor[is_own]

    others = batch.items[~is_own][batch.is_target[~is_own]]
    return WindowBatch(
        items=batch.items[is_own],
        lengths=batch.lengths[is_own],
        is_target=batch.is_target[is_own],
        num_targets=int(batch.is_target[is_own].sum()),
        target_weights=own(batch.target_weights),
        input_weights=own(batch.input_weights),
        gaps=own(batch.gaps),
        other_targets=others,
    )


def step(objective: Objective, batch: WindowBatch) -> torch.Tensor:
    """One step of plain gradient descent; returns the loss."""
    objective.zero_grad()
    loss = objective(batch).loss
    loss.backward()
    with torch.no_grad():
        for weights in objective.parameters():
            if weights.grad is not None:
                weights -= 0.5 * weights.grad
    objective.after_step()
    if isinstance(objective, DrawingObjective):
        assert int(objective.num_steps) > 0
    return loss.detach()


def copied(modules) -> dict[str, nn.Module]:
    return {name: copy.deepcopy(module) for name, module in modules.items()}


def is_changed(before: nn.Module, after: nn.Module) -> bool:
    """Whether any weight differs."""
    ours, theirs = before.state_dict(), after.state_dict()
    assert ours.keys() == theirs.keys()
    return any(not torch.equal(ours[name], theirs[name]) for name in ours)
