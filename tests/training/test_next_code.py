import pytest
import torch

from sidestep.data.windows import WindowBatch
from sidestep.model.config import TransformerConfig
from sidestep.model.transformer import Transformer
from sidestep.padding import NO_ITEM
from sidestep.step import HistoryBatch
from sidestep.training.next_code import NextCodeObjective
from sidestep.training.objective_config import NextCodeConfig

IDS = torch.tensor([[0, 1], [1, 1], [1, 0], [0, 0]])
BATCH = WindowBatch(
    items=torch.tensor([[0, 2, 1], [3, 1, NO_ITEM]]),
    lengths=torch.tensor([3, 2]),
    is_target=torch.tensor([[False, True, True], [True, True, False]]),
    num_targets=4,
)


def objective(tied_item_head=False, repeat_bias=False, **config) -> NextCodeObjective:
    torch.manual_seed(0)
    shape = TransformerConfig(
        dim=8,
        num_layers=1,
        num_heads=2,
        history="items",
        dropout=0.0,
        item_head="item_weight" in config,
        tied_item_head=tied_item_head,
        repeat_bias=repeat_bias,
    )
    return NextCodeObjective(Transformer(shape, IDS, (2, 2)), NextCodeConfig(**config))


def test_the_loss_is_the_mean_over_targets_of_the_semantic_ids_log_probability():
    lowered = objective()
    loss = lowered(BATCH)
    assert loss.num_targets == 4
    total = 0.0
    for user, position in BATCH.is_target.nonzero().tolist():
        item = int(BATCH.items[user, position])
        before = BATCH.items[user : user + 1, :position]
        step, context = lowered.model.encode(
            HistoryBatch(items=before, lengths=torch.tensor([position])), capacity=1
        )
        first, second = IDS[item].tolist()
        total -= step.logits[0, 0].log_softmax(-1)[first].item()
        step, _ = lowered.model.extend(
            context,
            torch.tensor([[first]]),
            torch.tensor([[0]]),
            torch.tensor([[1]]),
            is_node=torch.tensor([[True]]),
        )
        total -= step.logits[0, 0].log_softmax(-1)[second].item()
    assert loss.loss.item() == pytest.approx(total / 4, abs=1e-5)
    assert set(loss.parts) == {"code_1", "code_2"}


def test_parts_add_up_by_their_weights():
    loss = objective(item_weight=0.5, distillation_weight=2.0)(BATCH)
    parts = {name: float(part) for name, part in loss.parts.items()}
    expected = parts["code_1"] + parts["code_2"] + 0.5 * parts["item"] + 2 * parts["distillation"]
    assert loss.loss.item() == pytest.approx(expected, abs=1e-5)


def test_distillation_teaches_the_codes_and_not_the_item_head():
    lowered = objective(item_weight=1.0, distillation_weight=1.0)
    plain = objective(item_weight=1.0)
    lowered(BATCH).loss.backward()
    plain(BATCH).loss.backward()
    torch.testing.assert_close(
        lowered.model.item_head.weight.grad, plain.model.item_head.weight.grad
    )
    assert not torch.allclose(lowered.model.head.weight.grad, plain.model.head.weight.grad)


def test_an_item_weight_without_an_item_head_is_refused_and_so_is_a_missing_teacher():
    shape = TransformerConfig(dim=8, num_layers=1, num_heads=2)
    with pytest.raises(ValueError, match="set both or neither"):
        NextCodeObjective(Transformer(shape, IDS, (2, 2)), NextCodeConfig(item_weight=1.0))
    with pytest.raises(ValueError, match="set item_weight"):
        NextCodeConfig(distillation_weight=1.0)


def test_codes_that_a_beam_loses_anyway_count_less():
    """With a beam of one, the likeliest codes of the policy count more."""
    lowered = objective(beam_aware={"width": 1, "weight": 4.0, "temperature": 0.01})
    items = BATCH.items[BATCH.is_target]
    logits = torch.zeros(4, 2, 2)
    logits[:, :, 0] = 5.0  # code 0 is far ahead everywhere
    weights = lowered._weights(logits, items)
    is_kept = IDS[items] == 0
    assert (weights[is_kept].min() > 1) & (weights[~is_kept].max() < 1)
    torch.testing.assert_close(weights.mean(), torch.tensor(1.0))
    plain, aware = objective()(BATCH), lowered(BATCH)
    assert plain.loss != aware.loss


def test_only_codes_after_the_same_prefix_compete():
    """The last item is alone below its first code: its second code has no alternative."""
    ids = torch.tensor([[0, 1], [0, 0], [1, 1]])
    shape = TransformerConfig(dim=8, num_layers=1, num_heads=2, history="items")
    lowered = NextCodeObjective(
        Transformer(shape, ids, (2, 2)), NextCodeConfig.model_validate({"beam_aware": {}})
    )
    logits = torch.tensor([[[0.0, 1.0], [9.0, 0.0]]]).expand(3, -1, -1)
    weights = lowered._weights(logits, torch.arange(3))
    assert weights[2, 1] == 1
    assert weights[0, 1] < weights[1, 1]


def test_the_item_head_learns_at_every_target_what_a_search_will_ask_it():
    lowered = objective(tied_item_head=True, repeat_bias=True, item_weight=1.0)
    model = lowered.model
    model.item_head.repeat.data.fill_(-0.2)
    loss = lowered(BATCH)
    total = 0.0
    for user, position in BATCH.is_target.nonzero().tolist():
        before = HistoryBatch(
            items=BATCH.items[user : user + 1, :position], lengths=torch.tensor([position])
        )
        root, _ = model.encode(before, capacity=0)
        scores = model.item_logits(root.hidden[:, 0], before)[0].log_softmax(0)
        total -= float(scores[BATCH.items[user, position]].detach())
    assert float(loss.parts["item"]) == pytest.approx(total / 4, abs=1e-5)


@pytest.mark.parametrize(("items", "is_repeating"), [([0, 0, 0, 0], True), ([0, 1, 2, 3], False)])
def test_the_repeat_bias_learns_whether_items_are_taken_again(items, is_repeating):
    ids = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    shape = TransformerConfig(dim=8, num_layers=1, num_heads=2, item_head=True, repeat_bias=True)
    model = Transformer(shape, ids, (2, 2))
    batch = WindowBatch(
        items=torch.tensor([items]),
        lengths=torch.tensor([4]),
        is_target=torch.tensor([[False, True, True, True]]),
        num_targets=3,
    )
    NextCodeObjective(model, NextCodeConfig(item_weight=1.0))(batch).loss.backward()
    assert (model.item_head.repeat.grad < 0) == is_repeating  # a step goes against the gradient
