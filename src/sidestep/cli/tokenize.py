"""`sidestep tokenize`: vectors, or published semantic IDs, to a catalog."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from jaxtyping import Float

from sidestep.catalog.catalog import Catalog
from sidestep.cli.console import print_json, say
from sidestep.cli.importing import AsJson
from sidestep.cli.inputs import load_dataset, make_catalog, split_of
from sidestep.data.dataset import Dataset
from sidestep.embedding.vectors import load_vectors
from sidestep.tokenizer.codebooks import ResidualCodebooks
from sidestep.tokenizer.collisions import CollisionPolicy, num_distinct, resolve_collisions
from sidestep.tokenizer.published import read_published
from sidestep.tokenizer.residual_kmeans import (
    ResidualKMeans,
    ResidualKMeansConfig,
    suggested_codebook_sizes,
)

CODEBOOKS_FILE = "codebooks.safetensors"


def learned_catalog(
    dataset: Dataset,
    vectors: Float[np.ndarray, "items dim"],
    config: ResidualKMeansConfig,
    *,
    collisions: CollisionPolicy,
    seed: int,
) -> tuple[Catalog, ResidualCodebooks]:
    """Residual k-means over the vectors, and the catalog of its codes.

    Raises:
        ValueError: vectors of another number of items, or see `ResidualKMeans.fit`.
    """
    if len(vectors) != len(dataset.items):
        raise ValueError(
            f"{len(vectors)} vectors for the {len(dataset.items)} items of {dataset.name}; run "
            "'sidestep embed' on this dataset."
        )
    codebooks = ResidualKMeans(config).fit(vectors, seed=seed)
    semantic_ids = codebooks.encode(vectors)
    semantic_ids = resolve_collisions(
        semantic_ids,
        codebooks.last_residuals(vectors, semantic_ids),
        codebooks.levels[-1],
        policy=collisions,
    )
    catalog = make_catalog(dataset, split_of(dataset), semantic_ids, codebooks.codebook_sizes)
    return catalog, codebooks


def tokenize(
    dataset: Annotated[Path, typer.Argument(help="The dataset folder.")],
    out: Annotated[Path, typer.Option("--out", help="The catalog folder to write.")],
    vectors: Annotated[
        Path | None, typer.Option(help="Item vectors, from 'sidestep embed'.")
    ] = None,
    published: Annotated[
        Path | None, typer.Option(help="Semantic IDs of others: a *.index.json.")
    ] = None,
    codebook_sizes: Annotated[
        str | None,
        typer.Option(
            help="Codes per level, comma-separated; default: 256,256,256, less for small catalogs."
        ),
    ] = None,
    collisions: Annotated[
        CollisionPolicy,
        typer.Option(
            help="'reassign' gives items of one semantic ID another last code; 'none' lets them "
            "share it."
        ),
    ] = "reassign",
    seed: Annotated[int, typer.Option(min=0, help="Of the clustering.")] = 0,
    json: AsJson = False,
) -> None:
    """Give every item a semantic ID and write the catalog.

    Examples:

      sidestep tokenize runs/my/dataset --vectors runs/my/vectors.npy --out runs/my/catalog

      sidestep tokenize DATASET --vectors V.npy --codebook-sizes 64,64,128 --out CATALOG

      sidestep tokenize DATASET --published Scientific.rkmeans_zcr.index.json --out CATALOG
    """
    if (vectors is None) == (published is None):
        raise ValueError("give either --vectors FILE or --published FILE.")
    loaded = load_dataset(dataset)
    sizes = None if codebook_sizes is None else parse_sizes(codebook_sizes)
    codebooks: ResidualCodebooks | None = None
    if published is not None:
        ids = read_published(published, loaded.items.item_ids, codebook_sizes=sizes)
        catalog = make_catalog(loaded, split_of(loaded), ids.semantic_ids, ids.codebook_sizes)
    else:
        assert vectors is not None
        given = load_vectors(vectors)
        catalog, codebooks = learned_catalog(
            loaded,
            given,
            ResidualKMeansConfig(codebook_sizes=sizes or suggested_codebook_sizes(given)),
            collisions=collisions,
            seed=seed,
        )
    catalog.save(out)
    if codebooks is not None:
        codebooks.save(out / CODEBOOKS_FILE)
    distinct = num_distinct(catalog.semantic_ids.numpy())
    if json:
        print_json(
            {
                "path": str(out),
                "items": catalog.num_items,
                "distinct": distinct,
                "codebook_sizes": list(catalog.codebook_sizes),
                "version": catalog.version,
            }
        )
        return
    say(
        f"Wrote {out}: {catalog.num_items:,} items, {distinct:,} distinct semantic IDs of "
        f"{catalog.num_levels} codes from {catalog.codebook_sizes}. Next: sidestep train "
        f"--config configs/scientific-transformer.yaml --dataset {dataset} --catalog {out} "
        "--out RUN",
    )


def parse_sizes(text: str) -> tuple[int, ...]:
    """Numbers from a comma-separated list.

    Raises:
        ValueError: for anything else.
    """
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError as error:
        raise ValueError(
            f"--codebook-sizes {text!r}: write whole numbers with commas, such as 256,256,256."
        ) from error
