"""The supervised loss of thoughts."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from sidestep.data.windows import WindowBatch
from sidestep.model.config import StreamRecConfig, T5Config
from sidestep.model.stream_rec import StreamRec
from sidestep.model.t5 import T5
from sidestep.padding import NO_ITEM
from sidestep.step import HistoryBatch
from sidestep.training.likelihood import fitting_likelihood
from sidestep.training.next_code import NextCodeObjective
from sidestep.training.objective_config import NextCodeConfig, NextCodeSetConfig, ThoughtConfig
from sidestep.training.thoughts import ThoughtObjective

from .objective_contract import ObjectiveContract

IDS = torch.tensor([[0, 1], [1, 1], [1, 0], [0, 0]])
BATCH = WindowBatch(
    items=torch.tensor([[0, 2, 1], [3, 1, NO_ITEM]]),
    lengths=torch.tensor([3, 2]),
    is_target=torch.tensor([[False, True, True], [True, True, False]]),
    num_targets=4,
)
TARGETS = [(0, 1), (0, 2), (1, 0), (1, 1)]


def network(**shape) -> StreamRec:
    torch.manual_seed(0)
    config = {"dim": 8, "num_layers": 1, "num_heads": 2, "dropout": 0.0, "num_thoughts": 2}
    return StreamRec(StreamRecConfig(**{**config, **shape}), IDS, (2, 2))


def objective(**config) -> ThoughtObjective:
    return ThoughtObjective(network(), ThoughtConfig(**config))


class TestThoughts(ObjectiveContract):
    batch = BATCH

    def make(self):
        return objective()


class TestThoughtsOfItems(ObjectiveContract):
    """With vectors of items, which the target's representation holds, too."""

    batch = BATCH

    def make(self):
        # The steps of the contract are large, so the losses of traces are small.
        weights = ThoughtConfig(contrast_weight=0.05, quantisation_weight=0.05)
        return ThoughtObjective(network(history="items", item_embedding=True), weights)


@torch.no_grad()
def by_hand(made):
    """The loss of thoughts, of codes and of the quantisation, and states and targets, by target."""
    model, table = made.model, made.model.code_embedding.weight
    thoughts, codes, quantisation, states, targets = [], [], [], [], []
    for user, position in TARGETS:
        item = int(BATCH.items[user, position])
        before = HistoryBatch(
            items=BATCH.items[user : user + 1, :position], lengths=torch.tensor([position])
        )
        encoded, _ = model._encoded(before)
        flat = [int(IDS[item, 0]), 2 + int(IDS[item, 1])]
        target = table[flat].sum(dim=0)
        state, total, trace, lost = encoded[0].mean(dim=0), 0.0, [], 0.0
        for _ in range(2):
            residual = model.to_residual(target - state)
            code = min(range(4), key=lambda k: float((table[k] - residual).norm()))
            lost += 1.25 * float((table[code] - residual).square().mean())
            total = total + table[code]
            state = model.to_state(total)
            trace.append(code)
            states.append(state)
        path = torch.tensor([[*trace, flat[0]]])
        along = model.path_states(model._memory(before), path)[0]
        logs = (along @ model.head_weight.T)[:2].log_softmax(dim=-1)
        thoughts.append([-float(logs[step, code]) for step, code in enumerate(trace)])
        by_level = (along[2:] @ model.head_weight.T).view(2, 2, 2)[[0, 1], [0, 1]].log_softmax(-1)
        codes.append([-float(by_level[level, int(IDS[item, level])]) for level in range(2)])
        quantisation.append(lost)
        targets.append(target)
    numbers = (thoughts, codes, quantisation)
    return *(torch.tensor(each) for each in numbers), torch.stack(states), torch.stack(targets)


def test_the_loss_is_that_of_trace_and_codes_of_the_contrast_and_of_the_quantisation():
    made = objective(contrast_weight=0.3, quantisation_weight=0.7, contrast_temperature=0.5)
    thoughts, codes, quantisation, states, targets = by_hand(made)
    cosines = functional.normalize(states.view(4, 2, 8), dim=-1) @ functional.normalize(targets).T
    scores = cosines / 0.5
    # The second and the fourth target are one item.
    scores[1, :, 3] = scores[3, :, 1] = -torch.inf
    own = torch.arange(4)
    contrast = (scores.logsumexp(dim=-1) - scores[own, :, own]).mean()
    loss = made(BATCH)
    assert list(loss.parts) == [
        *("thought_1", "thought_2", "code_1", "code_2", "contrast", "quantisation")
    ]
    expected = [*thoughts.mean(dim=0), *codes.mean(dim=0), contrast, quantisation.mean()]
    torch.testing.assert_close(torch.stack(list(loss.parts.values())), torch.stack(expected))
    whole = sum(expected[:4]) + 0.3 * expected[4] + 0.7 * expected[5]
    torch.testing.assert_close(loss.loss.detach(), whole)
    assert loss.num_targets == 4


def test_targets_count_by_their_weights_in_every_part():
    made = objective()
    halved = made(replace(BATCH, target_weights=torch.full((2, 3), 0.5)))
    torch.testing.assert_close(halved.loss, made(BATCH).loss / 2)


def test_a_network_that_thinks_learns_traces_beside_another_loss():
    beside = fitting_likelihood(network(), NextCodeConfig(label_smoothing=0.2))
    assert isinstance(beside, ThoughtObjective)
    assert beside.config == ThoughtConfig(label_smoothing=0.2)
    kept = fitting_likelihood(network(), ThoughtConfig(commitment=0.5))
    assert kept.config.commitment == 0.5
    plain = T5(T5Config(dim=8, num_layers=1, num_heads=2), IDS, (2, 2))
    assert type(fitting_likelihood(plain, NextCodeConfig())) is NextCodeObjective
    with pytest.raises(ValueError, match=r"contrast_weight, .* a network of kind stream-rec"):
        fitting_likelihood(plain, ThoughtConfig())
    with pytest.raises(ValueError, match="learned_steps is for sets"):
        fitting_likelihood(network(), NextCodeSetConfig())


def test_a_network_learns_to_think_towards_what_comes_next():
    """After item 0 comes 2, after item 1 comes 3, and the network answers and thinks so."""
    made = objective()
    optimizer = torch.optim.Adam(made.parameters(), lr=0.02)
    batch = WindowBatch(
        items=torch.tensor([[0, 2], [1, 3]]),
        lengths=torch.tensor([2, 2]),
        is_target=torch.tensor([[False, True], [False, True]]),
        num_targets=2,
    )
    for _ in range(160):
        optimizer.zero_grad()
        made(batch).loss.backward()
        optimizer.step()
    model = made.model.eval()
    histories = HistoryBatch(items=torch.tensor([[0], [1]]), lengths=torch.tensor([1, 1]))
    root, _ = model.encode(histories, capacity=0)
    assert root.logits[:, 0].argmax(dim=1).tolist() == [1, 0]
    thoughts = model.thoughts(model.read(histories).memory)
    assert (thoughts[0] != thoughts[1]).any()
    parts = {name: float(part) for name, part in made(batch).parts.items()}
    # Greedy thoughts are then the traces, which are likely.
    assert max(parts[name] for name in ("thought_1", "thought_2", "code_1", "code_2")) < 0.2
