"""COBRA: a Transformer that writes the sparse ID of the next item, then the vector of the item."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from sidestep.model.config import CobraConfig, TransformerConfig
from sidestep.model.context import TreeContext
from sidestep.model.flops import matrix_flops
from sidestep.model.llama_form import LlamaForm
from sidestep.model.reading import InputVectors
from sidestep.model.sibling_items import SiblingItems, SlotPrefixes
from sidestep.model.transformer import Transformer
from sidestep.step import HistoryBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadedVectors(InputVectors):
    """Vectors of an item as its sparse ID and its dense vector: [ID, v].

    dense: gives the dense vectors of items.
    """

    dense: Callable[[Int[Tensor, "*batch"]], Float[Tensor, "*batch dim"]]

    def code_vectors(self, items: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch levels dim"]:
        """The vectors of all codes but the last, then the dense vector in the last one's place."""
        assert self.codes is not None, "the codes of the sparse ID are read"
        of_id: Tensor = self.codes(self.flat_codes(items)[..., :-1])
        return torch.cat([of_id, self.dense(items)[..., None, :].to(of_id.dtype)], dim=-2)


class Cobra(Transformer):
    """A Transformer over items that are sparse IDs and dense vectors, one after the other.

        S = ID_1, v_1, .., ID_t, v_t
        P(ID_t+1, v_t+1 | S) = P(ID_t+1 | S) · P(v_t+1 | S, ID_t+1)

    The sparse ID of an item is its semantic ID without the last code, and the last code numbers the
    items that share the sparse ID. Rows score the codes of the sparse ID, as in a Transformer. The
    state after the sparse ID is the predicted vector v̂. An item below the sparse ID is scored by
    cos(v̂, v) / `temperature`, and the scores are the logits of the last code. So every search over
    a trie works that reads the probabilities of codes alone. `beam-fusion` is the search of the
    paper.

    The dense vector is v = W_2 GELU(W_1 x + b_1) + b_2, where x is a given vector of the item, such
    as that of its text. The given vectors are kept with the weights and do not learn.

    Source: COBRA (arXiv:2503.02453). Departures: the paper learns a text encoder end to end, and
    our encoder is the two layers above; rotary positions, where the paper adds vectors of positions
    and types. Guesses, because we know the paper by its abstract and by notes on it alone: the
    codes of a sparse ID take one position each; the temperature, which the loss of the paper
    seems not to have.
    """

    Config: ClassVar = CobraConfig
    config: CobraConfig
    item_vectors: Tensor

    def __init__(
        self,
        config: CobraConfig,
        semantic_ids: Int[Tensor, "items levels"],
        codebook_sizes: tuple[int, ...],
    ) -> None:
        """Fresh weights; `set_item_vectors` gives the vectors of the items before the first use.

        Args:
            config: the shape, with `vector_dim`.
            semantic_ids: the codes of each item.
            codebook_sizes: codes per level.

        Raises:
            ValueError: a semantic ID has one code, or `vector_dim` is not known.
        """
        if len(codebook_sizes) < 2:
            raise ValueError(
                "COBRA needs semantic IDs of at least two codes: the last code numbers the items "
                "that share the codes before it. Tokenize with --collisions extra."
            )
        if config.vector_dim is None:
            raise ValueError("model.vector_dim is not known; take it from the vectors first.")
        super().__init__(config, semantic_ids, codebook_sizes)
        vectors = torch.zeros(self.num_items, config.vector_dim, device=semantic_ids.device)
        self.register_buffer("item_vectors", vectors)
        self.encoder = nn.Sequential(
            nn.Linear(config.vector_dim, config.dim),
            nn.GELU(),
            nn.Linear(config.dim, config.dim),
        )

    def set_item_vectors(self, vectors: Float[np.ndarray, "items vector_dim"]) -> None:
        """Sets the given vectors of all items of the catalog. Each vector is scaled to length 1."""
        self.item_vectors.copy_(functional.normalize(torch.from_numpy(vectors), dim=-1))

    def dense_vectors(self, items: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch dim"]:
        """The dense vectors of items; any vector at `NO_ITEM`."""
        vectors: Tensor = self.encoder(self.item_vectors[items.clamp(min=0)])
        return vectors

    def catalog_vectors(self) -> Float[Tensor, "items dim"]:
        """The dense vectors of all items."""
        vectors: Tensor = self.encoder(self.item_vectors)
        return vectors

    def sparse_logits(
        self, states: Float[Tensor, "targets levels dim"]
    ) -> Float[Tensor, "targets levels widest"]:
        """Logits of the codes of sparse IDs; -inf past the end of a level's codebook.

        Args:
            states: before each code of the sparse ID of each target.
        """
        logits = [
            self._code_logits(level, states[:, level], None, None)
            for level in range(self.num_levels - 1)
        ]
        return torch.stack(logits, dim=1)

    @property
    def input_vectors(self) -> InputVectors:
        """The vectors by which codes and items are read."""
        return CascadedVectors(
            flat_codes=self.flat_codes,
            codes=self.code_embedding,
            items=None,
            dense=self.dense_vectors,
        )

    def item_queries(
        self, states: Float[Tensor, "*states dim"], roots: Float[Tensor, "*roots dim"]
    ) -> Float[Tensor, "*states dim"]:
        """See `SemanticIdModel.item_queries`; the predicted vectors, which are the states."""
        del roots
        return states

    def scores_of_lists(
        self,
        states: Float[Tensor, "states dim"],
        items: Int[Tensor, "states items"],
        held: Int[Tensor, "states held"],
    ) -> Float[Tensor, "states items"]:
        """See `SemanticIdModel.scores_of_lists`; cosines over the temperature."""
        del held
        # The vectors of all items, once, where that is less work than the vectors of each list.
        if items.numel() > self.num_items:
            rows = functional.embedding(items.clamp(min=0), self.catalog_vectors())
        else:
            rows = self.dense_vectors(items)
        queries = functional.normalize(states, dim=-1) / self.config.temperature
        rows = functional.normalize(rows, dim=-1).to(queries.dtype)
        return torch.bmm(rows, queries[:, :, None])[..., 0]

    def item_logits(
        self, states: Float[Tensor, "states dim"], histories: HistoryBatch
    ) -> Float[Tensor, "states items"]:
        """Scores of all items at states after a sparse ID, whatever the items' own sparse IDs.

        Args:
            states: after the sparse ID that follows each history.
            histories: not read; the states have read them.

        Unlike in other networks, the states are not those of the root. No code asks COBRA at the
        root, because `reads_prefixes` is true.
        """
        return self._cosines(states, self.catalog_vectors())

    def item_rows(self, items: Int[Tensor, " some"] | None = None) -> Float[Tensor, "some dim"]:
        """See `HasItemRows.item_rows`; the dense vectors."""
        return self.catalog_vectors() if items is None else self.dense_vectors(items)

    def row_scores(
        self,
        states: Float[Tensor, "states dim"],
        rows: Float[Tensor, "some dim"],
        items: Int[Tensor, " some"],
        histories: HistoryBatch,
    ) -> Float[Tensor, "states some"]:
        """See `HasItemRows.row_scores`; the states are those of `item_logits`."""
        del items
        return self._cosines(states, rows)

    def llama_form(self) -> LlamaForm:
        """Refuses the export, see `HasLlamaForm.llama_form`.

        Raises:
            ValueError: always; no token stands for a dense vector.
        """
        raise ValueError(
            "COBRA reads a dense vector of every item, and no token stands for it; export a run of "
            "kind transformer that was trained with model.history: codes."
        )

    def with_last_code_by_items(
        self, few_items: int | None = None, *, prefix_queries: bool | None = None
    ) -> "Cobra":
        """See `SemanticIdModel.with_last_code_by_items`.

        Raises:
            ValueError: the settings are those of an item head, and the network has none.
        """
        if few_items is None and prefix_queries is None:
            return self
        raise ValueError(
            "few_items and prefix_queries are of an item head, and COBRA has none: vectors choose "
            "its last code; leave them out."
        )

    def flops_by_depth(self, histories: HistoryBatch) -> Int[Tensor, "users depths"]:
        """See `CountsFlops.flops_by_depth`; the dense vectors of read and scored items count."""
        by_depth = super().flops_by_depth(histories)
        assert self.siblings is not None, "vectors choose the last code"
        of_vector = matrix_flops(self.encoder)
        by_depth[:, 0] += histories.lengths * of_vector
        by_depth[:, -2] += min(self.siblings.widest[-1], self.num_items) * of_vector
        by_depth[:, -1] += of_vector
        return by_depth

    def _cosines(
        self, states: Float[Tensor, "states dim"], rows: Float[Tensor, "some dim"]
    ) -> Float[Tensor, "states some"]:
        """The cosines of states and vectors, over the temperature."""
        queries = functional.normalize(states, dim=-1) / self.config.temperature
        return functional.linear(queries, functional.normalize(rows, dim=-1).to(queries.dtype))

    def _node_vectors(
        self,
        context: TreeContext,
        codes: Int[Tensor, "users width"],
        parents: Int[Tensor, "users width"],
        depths: Int[Tensor, "users width"],
        depth: int | None,
    ) -> Float[Tensor, "users width dim"]:
        """See `Transformer._node_vectors`; a leaf is read by the dense vector of its first item.

        A leaf without an item, which no search shows, is read by the vector of its last code.
        """
        vectors = super()._node_vectors(context, codes, parents, depths, depth)
        if depth is not None and depth < self.num_levels:
            return vectors
        prefixes, siblings = context.prefixes, self.siblings
        assert isinstance(prefixes, SlotPrefixes), "the context is of another network"
        assert siblings is not None, "vectors choose the last code"
        users, at = (depths == self.num_levels).nonzero(as_tuple=True)
        last_slot = prefixes.numbers.shape[1] - 1
        above = prefixes.numbers[users, parents[users, at].clamp(0, last_slot)]
        items, last_codes = siblings.below(above, self.num_levels - 1)
        own = (last_codes == codes[users, at, None]) & (items >= 0)
        first = items.take_along_dim(own.byte().argmax(dim=1, keepdim=True), dim=1)[:, 0]
        dense = self.dense_vectors(first).to(vectors.dtype)
        read = torch.where(own.any(dim=1, keepdim=True), dense, vectors[users, at])
        return vectors.index_put((users, at), read)

    def _add_item_lists(self, config: TransformerConfig) -> None:
        self.siblings = SiblingItems(self.semantic_ids, self.codebook_sizes)
