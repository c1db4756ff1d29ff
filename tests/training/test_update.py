"""Updates of rows of items: what is moved, what is refused, and that a resumed run is the same."""

import os
import signal

import pytest
import torch
from training_toy import ring_windows

from sidestep.training import update as updates
from sidestep.training.config import TrainingConfig
from sidestep.training.loop import train
from sidestep.training.processes import Processes
from sidestep.training.sharing import Alone
from sidestep.training.tally import Sums, Tally
from sidestep.training.update import Update

from .test_item_loss import BATCH, NUM_ITEMS, WINDOWS, sasrec, transformer

SPARSE = TrainingConfig(
    epochs=3, batch_size=4, learning_rate=0.05, item_updates="sparse", device="cpu"
)
SAMPLED = {"item_loss": "sampled", "num_negatives": 3}


def update_of(objective, **changes) -> Update:
    objective.prepare(WINDOWS)
    config = SPARSE.model_copy(update=changes)
    return Update(Alone(objective, Processes()), config, Processes())


def stepped(objective, **changes) -> Update:
    torch.manual_seed(1)
    made = update_of(objective, **changes)
    made.step([BATCH], Tally(torch.device("cpu"), Sums()), learning_rate=0.1)
    return made


def rows_that_moved(objective, name, **changes) -> list[int]:
    table = objective.get_parameter(name)
    before = table.detach().clone()
    stepped(objective, **changes)
    return (table != before).any(dim=1).nonzero()[:, 0].tolist()


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (sasrec, "network.item_embedding.weight"),
        (transformer, "model.item_embedding.weight"),
        (lambda **config: transformer(is_tied=False, **config), "model.item_head.weight"),
    ],
)
def test_a_step_moves_the_rows_that_the_batch_read(make, name, monkeypatch):
    monkeypatch.setattr(
        "sidestep.objectives.negatives.NegativeSampler._drawn", lambda *_: torch.tensor([7, 9])
    )
    sparse = rows_that_moved(make(**SAMPLED), name)
    assert {7, 9} < set(sparse) <= {*range(4), 7, 9}
    # The first step of AdamW moves nothing else either, but a matrix that decays.
    dense = rows_that_moved(make(**SAMPLED), name, item_updates="dense")
    assert dense == (list(range(NUM_ITEMS)) if "head" in name else sparse)


@pytest.mark.parametrize("make", [sasrec, transformer])
def test_the_first_step_is_that_of_adamw(make):
    """But for what keeps a division from being one by zero; item embeddings do not decay."""
    sparse, dense = make(**SAMPLED), make(**SAMPLED)
    stepped(sparse)
    stepped(dense, item_updates="dense")
    for (name, ours), theirs in zip(sparse.named_parameters(), dense.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=name, atol=1e-4, rtol=0)


def test_auto_moves_all_rows_of_a_short_table_and_read_ones_of_a_long_table(monkeypatch):
    assert len(update_of(sasrec(**SAMPLED), item_updates="auto").optimizers) == 1
    monkeypatch.setattr(updates, "SPARSE_ROWS", NUM_ITEMS - 1)
    assert len(update_of(sasrec(**SAMPLED), item_updates="auto").optimizers) == 2
    # A loss that reads all rows gives all of them a gradient.
    assert len(update_of(sasrec(item_loss="exact"), item_updates="auto").optimizers) == 1


@pytest.mark.parametrize("form", ["exact", "chunked"])
def test_sparse_updates_of_a_loss_that_reads_all_rows_are_refused(form):
    with pytest.raises(ValueError, match=r"item_updates is sparse.*item_loss to sampled"):
        update_of(sasrec(item_loss=form))


def test_where_items_choose_the_last_code_all_rows_may_be_read():
    objective = transformer(last_code_head="items", **SAMPLED)
    assert len(stepped(objective, item_updates="auto").optimizers) == 1
    with pytest.raises(ValueError, match="item_updates is sparse"):
        update_of(objective)


def test_a_state_of_other_updates_is_refused():
    sparse, dense = (stepped(sasrec(**SAMPLED), item_updates=it) for it in ("sparse", "dense"))
    for ours, theirs in ((sparse, dense), (dense, sparse)):
        with pytest.raises(ValueError, match="rows of items in another way"):
            ours.load_state_dict(theirs.state_dict())


def trained(folder, *, stop_at=None, resume=False):
    """A run with dropout and draws of negatives; `stop_at` interrupts it after so many steps."""

    def report(progress):
        if progress.step == stop_at:
            os.kill(os.getpid(), signal.SIGINT)

    objective = transformer(**SAMPLED)
    objective.model.dropout.p = 0.5
    result = train(
        objective, ring_windows(24), SPARSE, folder=folder, seed=3, resume=resume, report=report
    )
    return objective, result


@pytest.mark.usefixtures("sigint_is_as_in_a_terminal")
def test_an_interrupted_run_with_sparse_updates_resumes_to_the_same_bits(tmp_path):
    whole, _ = trained(tmp_path / "whole")
    _, result = trained(tmp_path / "other", stop_at=8)
    assert result.stopped == "interrupted"
    resumed, result = trained(tmp_path / "other", resume=True)
    assert result.stopped == "finished"
    for (name, ours), theirs in zip(resumed.named_parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs), name
    assert not resumed.model.item_embedding.sparse  # others may train it as they like
