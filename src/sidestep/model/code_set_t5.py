"""The T5 form over sets of codes: an encoder of the history, and a decoder of codes in no order."""

from typing import ClassVar

from jaxtyping import Int
from torch import Tensor

from sidestep.model.code_set_model import CodeSetModel
from sidestep.model.config import CodeSetT5Config
from sidestep.model.t5 import T5


class CodeSetT5(T5, CodeSetModel):
    """A T5 for items that are sets of codes, see `CodeSetModel`.

    The relative position of two codes of an item is 0, whichever of them was decided first.

    Source: REG4Rec (arXiv:2508.15308, sec. V-1), an encoder and a decoder with a head per codebook.
    Our encoder reads an item as one vector.
    """

    Config: ClassVar = CodeSetT5Config
    config: CodeSetT5Config

    def __init__(
        self,
        config: CodeSetT5Config,
        semantic_ids: Int[Tensor, "items codebooks"],
        codebook_sizes: tuple[int, ...],
    ) -> None:
        """Fresh weights.

        Args:
            config: the shape.
            semantic_ids: the code of each item in each codebook.
            codebook_sizes: codes per codebook.
        """
        super().__init__(config, semantic_ids, codebook_sizes)
        self._choose_codebooks()
