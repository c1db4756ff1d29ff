"""The Transformer over sets of codes: every state may decide a code of any open codebook."""

from dataclasses import replace
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from sidestep.model.code_set_model import CodeSetModel
from sidestep.model.config import CodeSetConfig, TransformerConfig
from sidestep.model.context import TreeContext
from sidestep.model.set_items import SlotSets
from sidestep.model.sibling_items import SlotPrefixes
from sidestep.model.transformer import Transformer
from sidestep.step import HistoryBatch


class CodeSetTransformer(Transformer, CodeSetModel):
    """A Transformer for items that are sets of codes, see `CodeSetModel`.

    Source: REG4Rec (arXiv:2508.15308, sec. V-1), an encoder and a decoder with a head per codebook.
    Ours is the decoder alone, with a prompt of items; `CodeSetT5` has an encoder.
    """

    Config: ClassVar = CodeSetConfig
    config: CodeSetConfig

    def __init__(
        self,
        config: CodeSetConfig,
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

    def _add_item_lists(self, config: TransformerConfig) -> None:
        if config.last_code_head == "items":
            assert isinstance(config, CodeSetConfig)
            self.set_items = self._lists_of_items(most=config.few_items)

    def _root_prefixes(
        self, histories: HistoryBatch, roots: Float[Tensor, "users 1 dim"]
    ) -> SlotPrefixes | SlotSets | None:
        if self.set_items is None:
            return None
        scores = self._root_item_scores(histories, roots)
        return SlotSets.at_roots(histories.items, roots, scores, num_steps=self.num_levels)

    def _with_prefixes(
        self,
        context: TreeContext,
        codes: Int[Tensor, "users width"],
        parents: Int[Tensor, "users width"],
        depths: Int[Tensor, "users width"],
        visible: Int[Tensor, "users width"] | None,
        depth: int | None,
    ) -> TreeContext:
        known = context.prefixes
        if self.set_items is None:
            return context
        assert isinstance(known, SlotSets), "the context is of another network"
        is_chain = depth is None and codes.shape[1] > 1
        codes, roots = self.node_codes(codes, depths), self._roots_of(context, visible)
        scores = known.scores if visible is None else None
        prefixes = known.with_nodes(codes, parents, depths, roots, scores, is_chain=is_chain)
        return replace(context, prefixes=prefixes)
