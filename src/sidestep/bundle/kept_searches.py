"""Kept searches: the policy of the search that a bundle recommends by."""

from sidestep.bundle.manifest import KeptSearch
from sidestep.search.beam import BeamSearch
from sidestep.search.config import GuidanceConfig
from sidestep.search.guided_beam import GuidedBeamSearch
from sidestep.search.item_support import ItemSupport
from sidestep.search.policy import SearchPolicy
from sidestep.search.scorer import Guidance


def policy_of(kept: KeptSearch, items: ItemSupport | None, *, num_beams: int) -> SearchPolicy:
    """The policy of a kept search.

    Args:
        kept: the search.
        items: guides `item-beam`; None where nothing scores items, and a beam searches.
        num_beams: the width of the beam.
    """
    if kept.name == "beam" or items is None:
        return BeamSearch(num_beams=num_beams)
    return GuidedBeamSearch(
        guidance=Guidance(scorer=items, likelihood_weight=kept.likelihood_weight),
        num_beams=num_beams,
        candidates=GuidanceConfig().candidates_per_beam * num_beams,
    )
