"""The likelihood loss that fits a network: of ordered codes, of thoughts too, or of sets."""

from jaxtyping import Int
from torch import Tensor

from sidestep.model.code_set_model import CodeSetModel
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.model.stream_rec import StreamRec
from sidestep.training.next_code import NextCodeObjective
from sidestep.training.next_code_set import NextCodeSetObjective
from sidestep.training.objective_config import (
    NextCodeConfig,
    NextCodeSetConfig,
    ThoughtConfig,
)
from sidestep.training.supervised_codes import SupervisedCodesObjective
from sidestep.training.thoughts import ThoughtObjective


def fitting_likelihood(
    network: SemanticIdModel,
    config: NextCodeConfig | NextCodeSetConfig,
    *,
    categories: Int[Tensor, " items"] | None = None,
) -> SupervisedCodesObjective:
    """The likelihood loss of a network, beside another loss.

    Args:
        network: is trained.
        config: of either loss; what both have is read for either network.
        categories: see `SupervisedCodesObjective`.

    Raises:
        ValueError: a setting is of the other loss, or see the losses.
    """
    if isinstance(config, ThoughtConfig) and not isinstance(network, StreamRec):
        raise ValueError(
            "contrast_weight, quantisation_weight and what belongs to them are for a network of "
            "kind stream-rec, which writes thoughts; leave them out."
        )
    if not isinstance(network, CodeSetModel):
        if isinstance(config, NextCodeSetConfig):
            raise ValueError("learned_steps is for sets of codes; leave it out.")
        if isinstance(network, StreamRec):
            thoughts = ThoughtConfig.model_validate(config.model_dump())
            return ThoughtObjective(network, thoughts, categories=categories)
        return NextCodeObjective(network, config, categories=categories)
    if isinstance(config, NextCodeConfig):
        if config.beam_aware is not None:
            raise ValueError("beam_aware weighs codes in an order; a set has none, leave it out.")
        config = NextCodeSetConfig.model_validate(config.model_dump(exclude={"beam_aware"}))
    return NextCodeSetObjective(network, config, categories=categories)
