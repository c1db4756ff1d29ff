"""The networks over item IDs that Sidestep has, by the names of their kinds."""

from sidestep.model.bert4rec import Bert4Rec
from sidestep.model.caser import Caser
from sidestep.model.diffureason import DiffuReason
from sidestep.model.gru4rec import Gru4Rec
from sidestep.model.hstu import Hstu
from sidestep.model.item_network import ItemNetwork
from sidestep.model.lares import Lares
from sidestep.model.rearec import ReaRec
from sidestep.model.rpg import Rpg
from sidestep.model.sasrec import SasRec

ITEM_NETWORKS: dict[str, type[ItemNetwork]] = {
    "sasrec": SasRec,
    "hstu": Hstu,
    "gru4rec": Gru4Rec,
    "caser": Caser,
    "bert4rec": Bert4Rec,
    "rearec": ReaRec,
    "lares": Lares,
    "diffureason": DiffuReason,
    "rpg": Rpg,
}
"""The classes by the names of their kinds. A class of a user's own has none of these names, even if
it is a subclass of one of these classes."""


def kind_of_item_network(network: ItemNetwork) -> str | None:
    """The name of the network; None for one of a user's own."""
    names = [name for name, known in ITEM_NETWORKS.items() if type(network) is known]
    return names[0] if names else None
