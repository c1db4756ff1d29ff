"""The category head: the category of the item that a network is about to write, at every step."""

from jaxtyping import Float
from torch import Tensor, nn

from sidestep.model.config import CategoryHeadConfig
from sidestep.step import in_float32, widened


class CategoryHead(nn.Linear):
    """The distribution over the categories of the next item, from the state of a node.

    A node is a prefix of the codes of the next item, or a set of some of these codes. Where the
    distribution moves much from one node to the next, the codes do not agree on what the user
    wants.

    Source: REG4Rec (arXiv:2508.15308, sec. V-1), which takes the distribution as the intent.
    """

    def __init__(self, config: CategoryHeadConfig, dim: int) -> None:
        """Makes the weights; whoever owns the head initialises them.

        Args:
            config: the categories.
            dim: width of the states.

        Raises:
            ValueError: the categories are not known.
        """
        if config.values is None:
            raise ValueError(
                f"the categories of column {config.column!r} are not known; take them from the "
                "data first."
            )
        super().__init__(dim, len(config.values), bias=False)
        self.config = config

    @property
    def flops_per_state(self) -> int:
        """FLOPs of the matrix product at one state."""
        return 2 * self.weight.numel()

    def log_probs(self, states: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch categories"]:
        """Log-probabilities of the categories at some states, in float32."""
        with in_float32(states.device):
            logits: Tensor = self(widened(states))
            return logits.log_softmax(dim=-1)
