"""The loss of the category head beside the codes, of an order and of sets."""

import pytest
import torch

from sidestep.model.code_set_transformer import CodeSetTransformer
from sidestep.model.config import CategoryHeadConfig, CodeSetConfig, TransformerConfig
from sidestep.model.transformer import Transformer
from sidestep.training.next_code import NextCodeObjective
from sidestep.training.next_code_set import NextCodeSetObjective
from sidestep.training.objective_config import NextCodeConfig, NextCodeSetConfig

from .test_next_code import BATCH, IDS

SHAPE = {"dim": 8, "num_layers": 1, "num_heads": 2, "dropout": 0.0}
HEAD = CategoryHeadConfig(column="kind", values=("hat", "shoe"))
CATEGORIES = torch.arange(len(IDS)) % 2
NONE = torch.full((len(IDS),), -1)


def of_codes(categories=CATEGORIES, head=HEAD, **config):
    torch.manual_seed(0)
    network = Transformer(TransformerConfig(**SHAPE, category_head=head), IDS, (2, 2))
    return NextCodeObjective(network, NextCodeConfig(**config), categories=categories)


def of_sets(categories=CATEGORIES, head=HEAD, **config):
    torch.manual_seed(0)
    network = CodeSetTransformer(CodeSetConfig(**SHAPE, category_head=head), IDS, (2, 2))
    return NextCodeSetObjective(network, NextCodeSetConfig(**config), categories=categories)


def test_the_category_is_predicted_before_every_code():
    objective = of_codes()
    users, positions = BATCH.is_target.nonzero(as_tuple=True)
    states = objective.model.next_item_states(BATCH.histories)[users, positions]
    own = CATEGORIES[BATCH.items[users, positions]]
    logs = (states @ objective.model.category_head.weight.T).log_softmax(dim=2)
    expected = -sum(logs[n, step, own[n]] for n in range(len(own)) for step in range(2)) / len(own)
    torch.testing.assert_close(objective(BATCH).parts["category"], expected.detach())


@pytest.mark.parametrize("made", [of_codes, of_sets])
def test_the_loss_counts_by_its_weight(made):
    plain, heavy = (made(category_weight=weight)(BATCH) for weight in (0.5, 2.0))
    added = heavy.loss - plain.loss
    torch.testing.assert_close(added.detach(), 1.5 * plain.parts["category"])
    plain.loss.backward()


@pytest.mark.parametrize("made", [of_codes, of_sets])
def test_items_without_a_category_teach_none(made):
    objective = made(categories=NONE)
    loss = objective(BATCH)
    assert loss.parts["category"] == 0
    loss.loss.backward()
    assert objective.model.category_head.weight.grad.abs().sum() == 0


@pytest.mark.parametrize("made", [of_codes, of_sets])
def test_a_head_without_categories_to_learn_from_is_refused(made):
    with pytest.raises(ValueError, match="has a category head, and no categories"):
        made(categories=None)
    assert "category" not in made(categories=None, head=None)(BATCH).parts
