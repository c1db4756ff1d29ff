import pytest
import torch

from sidestep.catalog.set_space import SetSpace
from sidestep.model.code_set_transformer import CodeSetTransformer
from sidestep.model.config import CodeSetConfig
from sidestep.objectives.code_sets import open_codebooks
from sidestep.search.beam import BeamSearch
from sidestep.training.next_code_set import NextCodeSetObjective
from sidestep.training.objective_config import NextCodeSetConfig

from .test_next_code import BATCH, IDS

SIZES = (2, 2)


def network(**shape) -> CodeSetTransformer:
    torch.manual_seed(0)
    config = CodeSetConfig(dim=8, num_layers=1, num_heads=2, dropout=0.0, **shape)
    return CodeSetTransformer(config, IDS, SIZES)


def objective(**config) -> NextCodeSetObjective:
    return NextCodeSetObjective(
        network(item_head="item_weight" in config), NextCodeSetConfig(**config)
    )


def test_the_loss_averages_the_open_codebooks_of_each_step_along_the_drawn_order():
    lowered = objective()
    loss = lowered(BATCH)
    orders = lowered._orders(BATCH.items)
    total = [0.0, 0.0]
    for user, position in BATCH.is_target.nonzero().tolist():
        item, order = int(BATCH.items[user, position]), orders[user, position].tolist()
        before = BATCH.before(torch.tensor([user]), torch.tensor([position]))
        step, context = lowered.model.encode(before, capacity=1)
        first, second = step.logits[0, 0].split(2)
        own = IDS[item].tolist()
        total[0] -= first.log_softmax(0)[own[0]].item() / 2
        total[0] -= second.log_softmax(0)[own[1]].item() / 2
        action = own[order[0]] + 2 * order[0]
        step, _ = lowered.model.extend(
            context,
            torch.tensor([[action]]),
            torch.tensor([[0]]),
            torch.tensor([[1]]),
            is_node=torch.tensor([[True]]),
        )
        left = order[1]
        total[1] -= step.logits[0, 0].split(2)[left].log_softmax(0)[own[left]].item()
    assert loss.num_targets == 4
    assert [float(loss.parts[f"step_{n}"]) for n in (1, 2)] == pytest.approx(
        [part / 4 for part in total], abs=1e-5
    )
    assert float(loss.loss.detach()) == pytest.approx(sum(total) / 4, abs=1e-5)


def test_orders_are_drawn_anew_at_each_step_and_alike_after_a_resume():
    lowered, other = objective(), objective()
    items = torch.zeros(40, 3, dtype=torch.long)
    first = lowered._orders(items)
    assert sorted(first.unique().tolist()) == [0, 1]
    assert 0.2 < first[..., 0].float().mean() < 0.8
    lowered.after_step()
    assert not lowered._orders(items).equal(first)
    other.load_state_dict(lowered.state_dict())
    assert other._orders(items).equal(lowered._orders(items))


def test_fewer_steps_leave_out_the_later_codes():
    loss = objective(learned_steps=1)(BATCH)
    assert set(loss.parts) == {"step_1"}
    torch.testing.assert_close(loss.parts["step_1"], objective()(BATCH).parts["step_1"])


def test_a_beam_over_sets_finds_negatives():
    settings = {"item_weight": 1.0, "item_loss": "sampled", "negatives": ("uniform", "beam")}
    made = objective(beam_negatives=2, **settings)
    latest = BATCH.before(torch.tensor([0, 1]), torch.tensor([2, 1]))
    space = SetSpace.of_codes(IDS, SIZES)
    leaves = BeamSearch(num_beams=2).search(made.eval().model, latest, space).leaves
    items = space.items(leaves)
    assert sorted(made.found_items(BATCH).tolist()) == sorted(items[items >= 0].tolist())


def test_more_steps_than_codebooks_are_refused():
    with pytest.raises(ValueError, match="learned_steps is 3, but there are 2 codebooks"):
        objective(learned_steps=3)


def test_parts_add_up_by_their_weights():
    loss = objective(item_weight=0.5, distillation_weight=2.0)(BATCH)
    parts = {name: float(part) for name, part in loss.parts.items()}
    expected = parts["step_1"] + parts["step_2"] + 0.5 * parts["item"] + 2 * parts["distillation"]
    assert float(loss.loss.detach()) == pytest.approx(expected, abs=1e-5)


def test_distillation_follows_the_items_that_agree_with_the_target_so_far():
    """The head is sure of item 0; where the target is item 1, the first code says so."""
    lowered = objective(item_weight=1.0, distillation_weight=1.0)
    with torch.no_grad():
        lowered.model.item_head.weight.zero_()
    parts = lowered(BATCH).parts
    # All items are alike: the first step has two of four items on each code of both codebooks.
    users, positions = BATCH.is_target.nonzero(as_tuple=True)
    orders = lowered._orders(BATCH.items)
    states = lowered.model.set_states(BATCH.histories, orders)[users, positions]
    logits = lowered.model.code_logits(states)
    even = -sum(half.log_softmax(2).mean(2) for half in logits.split(2, dim=2)) / 2
    left = ~open_codebooks(orders[users, positions], 2)[:, 1]
    # After one code, the other codebook has one item on each of its two codes.
    second = -torch.stack([half.log_softmax(2).mean(2)[:, 1] for half in logits.split(2, 2)], 1)
    expected = even[:, 0].mean() + second[~left].mean()
    torch.testing.assert_close(parts["distillation"], expected.detach())


def test_distillation_teaches_the_codes_and_not_the_item_head():
    lowered = objective(item_weight=1.0, distillation_weight=1.0)
    plain = objective(item_weight=1.0)
    lowered(BATCH).loss.backward()
    plain(BATCH).loss.backward()
    torch.testing.assert_close(
        lowered.model.item_head.weight.grad, plain.model.item_head.weight.grad
    )
    assert not torch.allclose(lowered.model.head.weight.grad, plain.model.head.weight.grad)


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="set both or neither"):
        NextCodeSetObjective(network(), NextCodeSetConfig(item_weight=1.0))
    with pytest.raises(ValueError, match="set item_weight"):
        NextCodeSetConfig(distillation_weight=1.0)
    with pytest.raises(ValueError, match="chunked keeps no probabilities"):
        NextCodeSetConfig(item_weight=1.0, distillation_weight=1.0, item_loss="chunked")
