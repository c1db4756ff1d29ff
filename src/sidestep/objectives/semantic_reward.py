"""Semantic rewards: similarity of candidates and the next item, by the vectors of an encoder."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def target_cosines(
    embeddings: Float[Tensor, "users candidates dim"], target: Float[Tensor, "users dim"]
) -> Float[Tensor, "users candidates"]:
    """Cosine of each candidate with the item that came next, from -1 to 1.

    Args:
        embeddings: embeddings of the candidates, of any length. The cosine of a zero vector is 0.
        target: embedding of the item that came next.
    """
    return functional.cosine_similarity(embeddings, target[:, None], dim=2)
