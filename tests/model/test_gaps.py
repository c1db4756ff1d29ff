from dataclasses import replace

import pytest
import torch

from sidestep.data.windows import WindowBatch
from sidestep.model.config import GapConfig, SasRecConfig, TransformerConfig
from sidestep.model.gaps import GapEmbedding
from sidestep.model.sasrec import SasRec
from sidestep.model.transformer import Transformer
from tests.model.batches import history_of
from tests.model.contract import CODEBOOK_SIZES, SEMANTIC_IDS

NAN = float("nan")
ITEMS = torch.tensor([[2, 0, 5, 1], [4, 3, -1, -1]])
GAPS = torch.tensor([[1.0, 300.0, 86400.0, 5.0], [0.0, 60.0, NAN, NAN]])
TIMED = replace(history_of(ITEMS), gaps=GAPS)


def a_transformer(times):
    torch.manual_seed(0)
    shape = TransformerConfig(dim=16, num_layers=2, num_heads=2, history="items", times=times)
    return loud(Transformer(shape, SEMANTIC_IDS, CODEBOOK_SIZES))


def a_sasrec(times):
    torch.manual_seed(0)
    return loud(SasRec(SasRecConfig(dim=16, max_items=4, times=times), num_items=6))


def loud(model):
    """Weights large enough that what is read shows in the output."""
    for weights in model.parameters():
        if weights.ndim > 1:
            torch.nn.init.normal_(weights, std=0.4)
    return model.eval()


def output(model, histories):
    if isinstance(model, SasRec):
        return model.states(histories)
    return torch.cat(
        [
            model.encode(histories, capacity=1)[0].hidden.flatten(),
            model.next_item_states(histories).flatten(),
        ]
    )


def test_bins_are_those_of_the_logarithm():
    embedding = GapEmbedding(GapConfig(bins_per_doubling=2), dim=4)
    # 1 + floor(2 log2(1 + g)): half steps lie at 2^0.5 - 1 = 0.41 and 2^1.5 - 1 = 1.83.
    gaps = torch.tensor([[0.0, 0.5, 1.0, 2.0, 3.0, 1023.0, 2.0**62, -1.0, NAN]])
    histories = replace(history_of(torch.zeros(1, 9, dtype=torch.long)), gaps=gaps)
    assert embedding.bins(histories).tolist() == [[1, 2, 3, 4, 5, 21, 125, 0, 0]]
    assert embedding.table.num_embeddings > 127


def test_without_times_every_gap_is_unknown():
    embedding = GapEmbedding(GapConfig(), dim=4)
    assert embedding.bins(history_of(ITEMS)).tolist() == [[0] * 4] * 2


def test_some_gaps_are_hidden_while_training_and_none_in_use():
    torch.manual_seed(0)
    embedding = GapEmbedding(GapConfig(hidden_share=0.3), dim=1)
    embedding.table.weight.data.zero_()[0] = 7.0
    histories = replace(
        history_of(torch.zeros(4000, 3, dtype=torch.long)), gaps=torch.ones(4000, 3)
    )
    is_hidden = embedding.train()(histories)[..., 0] == 7
    # A gap is hidden on its own or with its history: 1 - 0.7 * 0.7.
    assert 0.48 < is_hidden.float().mean() < 0.54
    assert 0.3 < is_hidden.all(dim=1).float().mean() < 0.35  # 0.3 + 0.7 * 0.027
    assert not (embedding.eval()(histories) == 7).any()


@pytest.mark.parametrize("make", [a_transformer, a_sasrec])
@torch.no_grad()
def test_a_network_without_times_ignores_gaps_and_has_no_weights_for_them(make):
    model = make(None)
    assert output(model, TIMED).equal(output(model, history_of(ITEMS)))
    assert not [name for name in model.state_dict() if "gap" in name]
    assert "times" not in model.config.model_dump(mode="json")


@pytest.mark.parametrize("make", [a_transformer, a_sasrec])
@torch.no_grad()
def test_a_network_with_times_reads_every_gap_and_can_be_asked_without(make):
    model = make(True)
    whole = output(model, TIMED)
    assert whole.isfinite().all()
    for position in range(3 if make is a_transformer else 4):
        gaps = GAPS.clone()
        gaps[0, position] = 1e6
        other = output(model, replace(TIMED, gaps=gaps))
        assert not torch.allclose(other, whole, atol=1e-3)
    unknown = output(model, replace(TIMED, gaps=torch.full_like(GAPS, NAN)))
    assert output(model, history_of(ITEMS)).equal(unknown)
    assert not torch.allclose(unknown, whole, atol=1e-3)


@pytest.mark.parametrize("make", [a_transformer, a_sasrec])
@torch.no_grad()
def test_training_reads_at_each_position_the_gaps_that_are_read_in_use(make):
    model = make(True).double()
    batch = WindowBatch(
        items=ITEMS,
        lengths=torch.tensor([4, 2]),
        is_target=ITEMS >= 0,
        num_targets=6,
        gaps=GAPS.masked_fill(torch.tensor([[0, 0, 0, 1], [0, 1, 1, 1]]) > 0, NAN),
    )
    users, positions = batch.is_target.nonzero(as_tuple=True)
    before = batch.before(users, positions)
    rows = torch.arange(len(users))
    if make is a_sasrec:
        together = model.states(batch.histories.without_last())[users, positions]
        alone = model.states(before)[rows, positions]
    else:
        together = model.next_item_states(batch.histories)[users, positions, 0]
        alone = model.encode(before, capacity=1)[0].hidden[:, 0]
    torch.testing.assert_close(alone, together)


def test_settings_of_times():
    assert TransformerConfig(history="items", times=True).times == GapConfig()
    assert SasRecConfig(times={"bins_per_doubling": 4}).times.bins_per_doubling == 4
    assert SasRecConfig(times=False).times is None
    kept = SasRecConfig(times=True).model_dump(mode="json")
    assert SasRecConfig(**kept).times == GapConfig()
    with pytest.raises(ValueError, match="times needs history: items"):
        TransformerConfig(times=True)
