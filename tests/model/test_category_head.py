import pytest
import torch

from sidestep.model.category_head import CategoryHead
from sidestep.model.config import CategoryHeadConfig

KNOWN = CategoryHeadConfig(column="kind", values=("hat", "shoe"))


def test_the_probabilities_of_the_categories_sum_to_one_in_float32():
    head = CategoryHead(KNOWN, dim=2)
    head.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    logs = head.log_probs(torch.tensor([[[0.0, 0.0], [2.0, 1.0]]], dtype=torch.bfloat16))
    assert logs.dtype == torch.float32
    torch.testing.assert_close(logs.exp().sum(dim=2), torch.ones(1, 2))
    torch.testing.assert_close(logs[0, 1, 0] - logs[0, 1, 1], torch.tensor(1.0))


def test_categories_that_nobody_knows_are_refused():
    with pytest.raises(ValueError, match="categories of column 'kind' are not known"):
        CategoryHead(CategoryHeadConfig(column="kind"), dim=2)
