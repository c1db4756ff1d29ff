"""STREAM-Rec passes the laws of every model over semantic IDs, and thinks before it answers."""

from dataclasses import replace

import pytest
import torch

from sidestep.model.config import StreamRecConfig
from sidestep.model.stream_rec import StreamRec, drawn, likeliest
from sidestep.padding import NO_ITEM
from sidestep.step import HistoryBatch

from .contract import CODEBOOK_SIZES, HISTORIES, SEMANTIC_IDS
from .test_t5 import T5Contract


def network(seed: int = 2, **shape) -> StreamRec:
    """A network whose thoughts differ from user to user, as the laws would see little otherwise."""
    torch.manual_seed(seed)
    config = StreamRecConfig(**{"dim": 16, "num_layers": 2, "num_heads": 2, **shape})
    made = StreamRec(config, SEMANTIC_IDS, CODEBOOK_SIZES).eval()
    with torch.no_grad():
        for block in made.decoder_blocks:
            block.cross_attention.query.weight *= 4
            block.cross_attention.out.weight *= 4
    written = made.thoughts(made.read(HISTORIES).memory)
    assert len(written.unique(dim=0)) > 2
    return made


class TestStreamRec(T5Contract):
    def build(self):
        # Few buckets, so that distances from nodes to thoughts fall into several.
        return network(num_buckets=4, max_distance=5, num_thoughts=4)


class TestStreamRecOfItems(T5Contract):
    tokens_per_item = 1

    def build(self):
        return network(num_layers=1, num_thoughts=1, history="items", tied_head=False)


def thinking() -> StreamRec:
    return network(seed=3, num_thoughts=3).double()


@torch.no_grad()
def test_a_thought_is_the_likeliest_code_after_the_thoughts_before():
    made = thinking()
    read = made.read(HISTORIES)
    written = made.thoughts(read.memory)
    states = made.path_states(read.memory, written)
    assert states.shape == (4, 4, 16)
    scores = states[:, :3] @ made.head_weight.double().T
    assert scores.shape[2] == sum(CODEBOOK_SIZES)
    assert written.equal(scores.argmax(dim=2))
    root, context = made.encode(HISTORIES, capacity=0)
    torch.testing.assert_close(root.hidden[:, 0], states[:, 3], atol=1e-9, rtol=1e-9)
    assert context.prompt_width == 4


@torch.no_grad()
def test_the_root_depends_on_what_was_thought(monkeypatch):
    made = thinking()
    first, _ = made.encode(HISTORIES, capacity=0)
    monkeypatch.setattr("sidestep.model.stream_rec.likeliest", lambda logits: logits.argmin(dim=1))
    other, _ = made.encode(HISTORIES, capacity=0)
    assert ((first.logits - other.logits)[..., :4].abs().amax(dim=2) > 1e-3).all()


@torch.no_grad()
def test_the_target_of_a_position_changes_nothing_that_scores_it():
    """Traces know the target, and a recommendation must not: the thoughts and the root stay."""
    made = thinking()
    states = made.next_item_states(HISTORIES)
    others = HistoryBatch(
        items=torch.where(HISTORIES.items == NO_ITEM, NO_ITEM, (HISTORIES.items + 1) % 6),
        lengths=HISTORIES.lengths,
    )
    for position in range(4):
        changed = HISTORIES.items.clone()
        changed[:, position] = others.items[:, position]
        again = made.next_item_states(replace(HISTORIES, items=changed))
        has_target = HISTORIES.lengths > position
        assert again[has_target, position, 0].equal(states[has_target, position, 0])
        later = HISTORIES.lengths > position + 1
        if later.any():  # where the item is history, it does change the scores
            moved = (again[later, position + 1, 0] - states[later, position + 1, 0]).abs()
            assert (moved.amax(dim=1) > 1e-4).all()


@torch.no_grad()
def test_the_weights_that_make_traces_change_no_recommendation():
    made = thinking()
    before, _ = made.encode(HISTORIES, capacity=0)
    for each in (*made.to_residual.parameters(), *made.to_state.parameters()):
        each.fill_(7.0)
    after, _ = made.encode(HISTORIES, capacity=0)
    assert after.logits.equal(before.logits)


@torch.no_grad()
def test_a_history_is_summarised_by_the_mean_of_its_own_positions():
    made = thinking()
    read = made.read(HISTORIES)
    states, is_visible = made._encoded(HISTORIES)
    for user in range(4):
        own = states[user, : 1 + 3 * int(HISTORIES.lengths[user])]
        assert is_visible[user].sum() == len(own)
        torch.testing.assert_close(read.summaries[user], own.mean(dim=0))


def test_a_thought_is_drawn_as_often_as_its_probability_says():
    torch.manual_seed(0)
    logits = torch.tensor([[1.0, 3.0, 0.0]]).log().expand(4000, 3)
    shares = drawn(logits).bincount(minlength=3) / 4000
    torch.testing.assert_close(shares, torch.tensor([0.25, 0.75, 0.0]), atol=0.03, rtol=0)
    assert likeliest(torch.tensor([[1.0, 2.0, 2.0]])).tolist() == [1]


def test_what_makes_traces_is_frozen_where_no_loss_reads_it():
    made = network().requires_grad_()
    made.freeze_heads()
    frozen = {name for name, each in made.named_parameters() if not each.requires_grad}
    assert frozen == {
        f"{part}.{at}.weight" for part in ("to_residual", "to_state") for at in (0, 2)
    }


@pytest.mark.parametrize("number", [0, 65])
def test_a_number_of_thoughts_out_of_bounds_is_refused(number):
    with pytest.raises(ValueError, match="num_thoughts"):
        StreamRecConfig(num_thoughts=number)
