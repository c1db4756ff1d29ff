"""`sidestep embed`: one vector per item."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from jaxtyping import Float

from sidestep.cli.console import print_json, say
from sidestep.cli.importing import AsJson, split_names
from sidestep.cli.inputs import load_dataset, split_of
from sidestep.data.dataset import Dataset
from sidestep.embedding.collaborative import CollaborativeConfig, cooccurrence_svd
from sidestep.embedding.given import read_given
from sidestep.embedding.tfidf import TfidfConfig, tfidf_svd
from sidestep.embedding.vectors import check_vectors_file, concatenated, save_vectors

DIM = 128
"""Width of text vectors, unless another is asked for."""

COLLABORATIVE_DIM = 64
"""Width of collaborative vectors, unless another is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What vectors are made of.

    columns: text columns; empty for none.
    text: how texts become vectors.
    may_be_narrower: of text vectors, where the texts allow less than `text.dim`.
    given: a file of the user's own vectors.
    collaborative_weight: of vectors from the training part; None for none. Texts and given
        vectors weigh 1.
    collaborative: how the training part becomes vectors.
    """

    columns: Sequence[str]
    text: TfidfConfig
    may_be_narrower: bool = False
    given: Path | None = None
    collaborative_weight: float | None = None
    collaborative: CollaborativeConfig = field(default_factory=CollaborativeConfig)


def item_vectors(
    dataset: Dataset, sources: Sources, *, seed: int
) -> Float[np.ndarray, "items dim"]:
    """Vectors of all items of a dataset, in the order of its items.

    Raises:
        ValueError: nothing to embed, or given vectors that do not fit, see `read_given`.
        KeyError: an unknown text column, or an item without a given vector.
    """
    parts, weights = [], []
    if _has_text(dataset, sources):
        texts = {name: dataset.items.frame[name].to_list() for name in sources.columns}
        parts.append(tfidf_svd(texts, sources.text, seed=seed, may_be_narrower=True))
        width = parts[0].shape[1]
        if width < sources.text.dim and not sources.may_be_narrower:
            raise ValueError(
                f"--dim {sources.text.dim}: the texts of {dataset.name} allow at most {width} "
                "dimensions; lower it or leave it out."
            )
        if width < sources.text.dim:
            say(f"Note: the texts allow {width} dimensions, not {sources.text.dim}.")
        weights.append(1.0)
    if sources.given is not None:
        parts.append(read_given(sources.given, dataset.items.item_ids))
        weights.append(1.0)
    if sources.collaborative_weight is not None:
        # The training part alone: the targets of validation and test must not shape the codes.
        train = split_of(dataset).train.histories
        vectors = cooccurrence_svd(
            train.items,
            train.offsets,
            sources.collaborative,
            num_items=len(dataset.items),
            seed=seed,
        )
        parts.append(vectors)
        weights.append(sources.collaborative_weight)
    if not parts:
        known = ", ".join(dataset.items.text_columns) or "none"
        raise ValueError(
            "nothing to embed: give --columns, --collaborative-weight or --given; text columns of "
            f"{dataset.name}: {known}."
        )
    # Vectors of one's own alone are left as they are, lengths included.
    return parts[0] if len(parts) == 1 else concatenated(parts, weights=weights)


def _has_text(dataset: Dataset, sources: Sources) -> bool:
    """Whether texts are asked for and there are any, or nothing else that could stand for them."""
    unknown = [name for name in sources.columns if name not in dataset.items.text_columns]
    if unknown:
        raise KeyError(
            f"{dataset.name} has no text columns {unknown}; there are "
            f"{list(dataset.items.text_columns)}."
        )
    has_others = sources.given is not None or sources.collaborative_weight is not None
    is_empty = not any(
        text and text.strip() for name in sources.columns for text in dataset.items.frame[name]
    )
    if sources.columns and is_empty and has_others:
        say(f"Note: no item has any text in {', '.join(sources.columns)}; texts are left out.")
        return False
    return bool(sources.columns)


def _collaborative_dim(dataset: Dataset, asked: int | None) -> int:
    num_items = len(dataset.items)
    if asked is not None and asked > num_items:
        raise ValueError(
            f"--collaborative-dim {asked}: {dataset.name} has only {num_items} items; lower it or "
            "leave it out."
        )
    return asked or min(COLLABORATIVE_DIM, num_items)


def embed(
    dataset: Annotated[Path, typer.Argument(help="The dataset folder.")],
    out: Annotated[Path, typer.Option("--out", help="The .npy file to write.")],
    columns: Annotated[
        str | None,
        typer.Option(help="Text columns, comma-separated; default: all. '' for none."),
    ] = None,
    dim: Annotated[
        int | None,
        typer.Option(
            min=1, help=f"Width of the text vectors. [default: {DIM}, or what the texts allow]"
        ),
    ] = None,
    collaborative_weight: Annotated[
        float | None,
        typer.Option(help="Add vectors from co-occurrence in training, with this weight."),
    ] = None,
    collaborative_dim: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"Width of those vectors. [default: {COLLABORATIVE_DIM}, at most one per item]",
        ),
    ] = None,
    given: Annotated[
        Path | None,
        typer.Option(
            help="Your own vectors: .npy in the order of the items, or .npz or .parquet with "
            "item_id and vector."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    json: AsJson = False,
) -> None:
    """Turn item texts (and co-occurrence, or your own vectors) into one vector per item.

    Examples:

      sidestep embed runs/scientific/dataset --out runs/scientific/vectors.npy

      sidestep embed runs/beauty/dataset --collaborative-weight 1 --out runs/beauty/vectors.npy

      sidestep embed runs/my/dataset --given sentence-vectors.npy --out runs/my/vectors.npy
    """
    check_vectors_file(out)
    if collaborative_weight is not None and not 0 < collaborative_weight < math.inf:
        raise ValueError(
            f"--collaborative-weight must be finite and above 0, got {collaborative_weight}; "
            "leave it out for no such vectors."
        )
    loaded = load_dataset(dataset)
    if columns is None:
        # Own vectors stand for the texts unless texts are asked for as well.
        names = [] if given is not None else list(loaded.items.text_columns)
    else:
        names = split_names(columns)
    sources = Sources(
        columns=names,
        text=TfidfConfig(dim=dim or DIM),
        may_be_narrower=dim is None,
        given=given,
        collaborative_weight=collaborative_weight,
        collaborative=CollaborativeConfig(dim=_collaborative_dim(loaded, collaborative_dim)),
    )
    vectors = item_vectors(loaded, sources, seed=seed)
    save_vectors(out, vectors)
    num_empty = int((~vectors.any(axis=1)).sum())
    if json:
        print_json(
            {
                "path": str(out),
                "items": len(vectors),
                "dim": vectors.shape[1],
                "items_without_vector": num_empty,
                "columns": names,
            }
        )
        return
    say(
        f"Wrote {out}: {len(vectors):,} items, {vectors.shape[1]} dimensions, {num_empty:,} items "
        f"of which nothing is known. Next: sidestep tokenize {dataset} --vectors {out} "
        "--out CATALOG"
    )
