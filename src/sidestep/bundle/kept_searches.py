"""Kept searches: the policy of the search that a bundle recommends by."""

from sidestep.bundle.manifest import KeptSearch
from sidestep.search.beam import BeamSearch
from sidestep.search.beam_fusion import BeamFusion
from sidestep.search.config import GuidanceConfig
from sidestep.search.guided_beam import GuidedBeamSearch
from sidestep.search.item_ranking import ItemRanking
from sidestep.search.item_support import ItemSupport
from sidestep.search.policy import SearchPolicy
from sidestep.search.scorer import Guidance


def policy_of(kept: KeptSearch, items: ItemSupport | None, *, num_beams: int) -> SearchPolicy:
    """The policy of a kept search.

    Args:
        kept: the search.
        items: scores items for `item-beam` and `item-head`; None where nothing scores items, and a
            beam searches.
        num_beams: the width of the beam, or the length of the ranking.
    """
    if kept.name == "beam-fusion":
        return BeamFusion(num_beams=num_beams, tau=kept.tau, psi=kept.psi, among=kept.among)
    if kept.name == "beam" or items is None:
        return BeamSearch(num_beams=num_beams)
    if kept.name == "item-head":
        return ItemRanking(
            head=items.head,
            ranker=items.ranker,
            ranker_weight=items.ranker_weight,
            num_leaves=num_beams,
        )
    return GuidedBeamSearch(
        guidance=Guidance(scorer=items, likelihood_weight=kept.likelihood_weight),
        num_beams=num_beams,
        candidates=GuidanceConfig().candidates_per_beam * num_beams,
    )
