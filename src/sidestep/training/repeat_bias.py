"""The start of a repeat bias, which is initialised from the data and not from a seed."""

from sidestep.data.repeats import Repeats
from sidestep.data.windows import Windows
from sidestep.model.item_head import ItemHead


def begin_at_repeats(head: ItemHead, windows: Windows, num_items: int) -> None:
    """Lets a repeat bias begin at the training part's own repeat rate; its rate of learning is low.

    The scores of an untrained network are nearly equal, which is what `Repeats.log_odds` supposes.

    Args:
        head: has a repeat bias.
        windows: the training part.
        num_items: of the catalog.
    """
    head.begin_at(Repeats.of(windows).log_odds(num_items))
