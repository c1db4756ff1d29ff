"""Appending: new items in a trained recommender, whose old IDs and weights stay as they are.

A network of semantic IDs knows a new item by the item's codes, which it has learned from other
items. If the network has no rows per item, the network stays as it is, and reads the codes of the
grown catalog.

A network with rows per item gets a row for each new item: the mean row of the item's siblings, the
old items that share the longest prefix with the item. A number that no bucket has needed before is
a new code, and gets the row of the highest old code of the last level. SASRec and the other
networks over item IDs have rows per item, so they take new items only with a catalog whose semantic
IDs say which items are siblings. With `code_embedding`, they add the vectors of the item's codes. A
network that reads columns of items reads the columns of new items from their texts. COBRA reads the
given vectors of new items. Without them, it reads the mean vector of the siblings.

Popularity and repeats count new items as zero. In a transition graph, nothing follows a new item,
and the vector of the item says which items are like it. A process reward model keeps the scores of
old prefixes, and gets rows for new prefixes in the same way. A value head has no rows of items or
codes, and stays as it is. A SASRec or a graph beside a network grows as it does alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Int

from sidestep.bundle.choices import NewRows
from sidestep.bundle.item_rows import with_codes, with_items
from sidestep.bundle.loaded import LoadedRecommender
from sidestep.bundle.networks import (
    Network,
    build_network,
    description_of,
    keeps_items,
    weights_of,
)
from sidestep.bundle.parts import PARTS, VECTORS_SHA256, Growth
from sidestep.catalog.catalog import Catalog
from sidestep.embedding.vectors import unit_length
from sidestep.model.cobra import Cobra
from sidestep.model.rpg import Rpg
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.model.tied_item_network import TiedItemNetwork
from sidestep.notices import note


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVectors:
    """Vectors of new items.

    values: one per new item.
    of: the hash of the vectors of the old items, from the same embedding, see `VectorsFingerprint`.
    """

    values: Float[np.ndarray, "new dim"]
    of: str


def append_items(
    loaded: LoadedRecommender,
    item_ids: Sequence[str],
    semantic_ids: Int[np.ndarray, "new levels"] | None,
    *,
    texts: pl.DataFrame | None = None,
    vectors: NewVectors | None = None,
    new_rows: NewRows = "siblings",
    last_codebook_size: int | None = None,
) -> LoadedRecommender:
    """A recommender with more items; the old items keep their indices, codes and weights.

    Weights that nothing is added to may be shared with the old recommender.

    Args:
        loaded: is not changed.
        item_ids: of the new items.
        semantic_ids: their codes, see `sidestep.tokenizer.appending`. None where the catalog's
            only code is the item itself, as that of popularity without a tokenizer.
        texts: one row per new item, with columns of the catalog's texts.
        vectors: of the new items, for a transition graph or a COBRA; None where they are not known.
        new_rows: what the network keeps of them, where it keeps anything per item.
        last_codebook_size: a larger one, where the last code numbers the items of a bucket and the
            largest bucket grows. A new number is taken for the highest old one. None keeps the
            codebooks. Scores normalised over the whole codebook, not over the legal codes, share
            their probability with the new numbers.

    Raises:
        TypeError: an item id is not a string.
        ValueError: ids that the catalog has or that repeat, codes that are missing or out of range,
            a codebook that shrinks, a network or recommender that cannot know new items or codes,
            or a process reward model whose prefixes share rows.
    """
    old = loaded.catalog.to("cpu")
    sizes = old.codebook_sizes
    if semantic_ids is None:
        semantic_ids, sizes = _next_codes(loaded, len(item_ids))
    elif last_codebook_size is not None:
        sizes = _with_last(loaded, last_codebook_size)
    catalog = old.appended(item_ids, semantic_ids, texts=texts, codebook_sizes=sizes)
    counts = loaded.counts
    if counts is not None:
        counts = np.concatenate([counts, np.zeros(len(item_ids), counts.dtype)])
    known_vectors = _vectors_for(loaded, vectors)
    growth = Growth(old=old, new=catalog, new_rows=new_rows, vectors=known_vectors)
    fitted = loaded.fitted
    if fitted is not None:
        fitted = fitted.grown(len(item_ids), known_vectors)
    parts = {
        name: PARTS[name].after_growth(part, loaded.network, growth)
        for name, part in loaded.parts.items()
    }
    catalog = catalog.to(loaded.device)
    network = loaded.network
    if network is not None:
        network = _grown(loaded, network, growth, catalog, vectors)
    known = {
        "catalog_version": catalog.version,
        "num_new_items": loaded.manifest.num_new_items + len(item_ids),
    }
    return replace(
        loaded,
        manifest=loaded.manifest.model_copy(update=known),
        catalog=catalog,
        network=network,
        fitted=fitted,
        parts={name: part.to(loaded.device) for name, part in parts.items()},
        counts=counts,
    )


def _vectors_for(
    loaded: LoadedRecommender, vectors: NewVectors | None
) -> Float[np.ndarray, "new dim"] | None:
    """The vectors, if what was fitted compares items by that embedding; else None, with a note."""
    use = loaded.ranker_use
    if use is None and loaded.fitted is None:
        return None
    lost = "The transition graph gets no vectors of the new items, so it finds none of them: "
    return _matching(loaded.manifest.training if use is None else use.trained, vectors, lost)


def _matching(
    made_of: Mapping[str, Any], vectors: NewVectors | None, lost: str
) -> Float[np.ndarray, "new dim"] | None:
    """The vectors, if something compares items by that embedding; else None, with a note.

    Args:
        made_of: the summary of the training.
        vectors: of the new items.
        lost: says what is lost without the vectors.
    """
    embedding = made_of.get(VECTORS_SHA256)
    if vectors is not None and vectors.of == embedding:
        return vectors.values
    if "embeddings_sha256" not in made_of:  # nothing is compared
        return None
    if embedding is None:
        why = (
            "an older Sidestep made the run, and did not keep which vectors the run compares. Make "
            "the run again."
        )
    elif vectors is None:
        why = "give them with --vectors."
    else:
        why = (
            "the vectors of the items are others than those of the semantic IDs. Make the run "
            "again on the file of 'sidestep embed' that the semantic IDs were made of."
        )
    note(lost + why)
    return None


def retire_items(loaded: LoadedRecommender, item_ids: Sequence[str]) -> LoadedRecommender:
    """A copy of a recommender that never recommends some items.

    Raises:
        KeyError: the catalog has no such item.
        ValueError: nothing would be left to recommend.
    """
    return replace(loaded, catalog=loaded.catalog.retired(item_ids))


def restore_items(loaded: LoadedRecommender, item_ids: Sequence[str]) -> LoadedRecommender:
    """A copy of a recommender that may recommend retired items again.

    Raises:
        KeyError: the catalog has no such item.
    """
    return replace(loaded, catalog=loaded.catalog.restored(item_ids))


def has_item_codes(catalog: Catalog) -> bool:
    """Whether the only code of an item is the item itself, so that no item is near another."""
    return catalog.num_levels == 1 and catalog.codebook_sizes == (catalog.num_items,)


def _with_last(loaded: LoadedRecommender, size: int) -> tuple[int, ...]:
    old = loaded.catalog.codebook_sizes
    if size < old[-1]:
        raise ValueError(
            f"last_codebook_size is {size}, but the last level has {old[-1]} codes; a codebook "
            "can only grow."
        )
    if size > old[-1] and loaded.kind == "hugging-face":
        raise ValueError(
            f"the new items need {size} codes at the last level, which has {old[-1]}, and codes "
            "are tokens of a language model here, whose vocabulary stays; tokenize and train again "
            "with the new items."
        )
    return (*old[:-1], size)


def _next_codes(
    loaded: LoadedRecommender, num_new: int
) -> tuple[Int[np.ndarray, "new 1"], tuple[int, ...]]:
    if not has_item_codes(loaded.catalog):
        raise ValueError(
            "the catalog has semantic IDs, so new items need theirs; encode their vectors with "
            "the catalog's tokenizer."
        )
    if loaded.network is not None:
        raise ValueError(
            f"{loaded.kind} knows an item only by a vector that it learned for it, and this "
            "catalog has no semantic IDs that say which items are near a new one. Train it with "
            "--catalog, append to a network of semantic IDs, or train again with the new items."
        )
    first = loaded.catalog.num_items
    codes = np.arange(first, first + num_new, dtype=np.int32)[:, None]
    return codes, (first + num_new,)


def _grown(
    loaded: LoadedRecommender,
    network: Network,
    growth: Growth,
    catalog: Catalog,
    vectors: NewVectors | None,
) -> Network:
    """The network for a grown catalog, on the device of that catalog."""
    if isinstance(network, SemanticIdModel) and not keeps_items(network, loaded.kind, growth.new):
        return network.with_semantic_ids(catalog.semantic_ids)
    weights = with_items(weights_of(network), growth.old, growth.new, growth.new_rows)
    # A network of a user's own over item IDs may call rows of something else by these names.
    if isinstance(network, SemanticIdModel | TiedItemNetwork | Rpg):
        weights = with_codes(weights, growth.old, growth.new)
    if isinstance(network, Cobra):
        lost = "COBRA gets no vectors of the new items, and reads the mean of their siblings: "
        known = _matching(loaded.manifest.first_training, vectors, lost)
        if known is not None:
            read = torch.from_numpy(unit_length(known)).to(network.item_vectors.dtype)
            weights["item_vectors"] = torch.cat([network.item_vectors.cpu(), read])
    description = description_of(network)
    return build_network(loaded.kind, description, growth.new, weights).to(loaded.device)
