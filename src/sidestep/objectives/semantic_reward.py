"""Semantic rewards: how near what was found is to what came next, in the vectors of an encoder."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def target_cosines(
    embeddings: Float[Tensor, "users candidates dim"], target: Float[Tensor, "users dim"]
) -> Float[Tensor, "users candidates"]:
    """The cosine of each candidate with the item that came next, from -1 to 1.

    Args:
        embeddings: of the candidates, of any length; whatever is all zeros has the cosine 0.
        target: embedding of the item that came next.
    """
    return functional.cosine_similarity(embeddings, target[:, None], dim=2)
