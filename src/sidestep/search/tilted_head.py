"""Tilted item head: an item head that also counts what an item is worth."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from sidestep.search.item_support import HasItemHead, flops_per_item
from sidestep.step import HistoryBatch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TiltedItemHead:
    """Adds weight × log(worth) to the scores of an item head.

    With weight 1, the softmax of the scores is proportional to probability × worth. So the scores
    rank by expected worth, which is the best order if the head's probabilities are right. Every
    search by an item head takes a tilted head. `ItemRanking` then ranks all items by expected
    worth. `ItemSupport` guides a beam by the expected worth below each prefix.

    head: scores the items.
    log_worths: of every item of the catalog, in nats; or any number to add to the score, such as a
        bonus for new items.
    weight: 0 leaves the head as it is.
    """

    head: HasItemHead
    log_worths: Float[Tensor, " items"]
    weight: float = 1.0

    def item_logits(
        self, states: Float[Tensor, "users dim"], histories: HistoryBatch
    ) -> Float[Tensor, "users items"]:
        """See `HasItemHead.item_logits`.

        Raises:
            ValueError: there is not one number per item.
        """
        logits = self.head.item_logits(states, histories)
        if logits.shape[1] != len(self.log_worths):
            raise ValueError(
                f"log_worths has {len(self.log_worths)} numbers, and the item head scores "
                f"{logits.shape[1]} items; give one number per item of the catalog."
            )
        return logits + self.weight * self.log_worths.to(logits)

    @property
    def flops_per_item(self) -> int | None:
        """FLOPs of the head per item; None if the head does not tell."""
        return flops_per_item(self.head)
