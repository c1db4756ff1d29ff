"""`sidestep tokenize`: vectors, or published semantic IDs, to a catalog."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from jaxtyping import Float, Int
from pydantic import BaseModel

from sidestep.cli.console import print_json, say
from sidestep.cli.dry_run import ESTIMATE, DryRun, tell_plan
from sidestep.cli.inputs import load_dataset
from sidestep.cli.next_step import training_on
from sidestep.cli.options import AsJson
from sidestep.cli.outputs import Overwrite, check_out
from sidestep.cli.working import working
from sidestep.data.dataset import Dataset
from sidestep.data.own_split import split_of
from sidestep.embedding.vectors import vectors_info
from sidestep.lazy_imports import imported_when_used, importing
from sidestep.runs.catalogs import make_catalog
from sidestep.runs.plain_yaml import read_yaml
from sidestep.runs.provenance import load_item_vectors
from sidestep.runs.settings import checked, with_settings
from sidestep.runs.text_embedding import keep_with_catalog
from sidestep.tokenizer.choices import CollisionPolicy
from sidestep.tokenizer.methods import DEFAULT_METHOD, METHODS, config_class, make_tokenizer
from sidestep.tokenizer.published import PublishedIds, read_published
from sidestep.tokenizer.tokenizer import Report
from sidestep.tokenizer.vectors import advice, check_fittable, suggested_codebook_sizes

with imported_when_used():
    from sidestep.catalog import catalog as catalogs
    from sidestep.runs import estimates
    from sidestep.tokenizer import collisions as colliding
    from sidestep.tokenizer import kept as kept_tokenizers
    from sidestep.tokenizer import quality as fits


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """A catalog with the tokenizer that made it.

    catalog: the items with their semantic IDs.
    kept: what goes beside them.
    quality: of the codes before collisions were resolved.
    """

    catalog: catalogs.Catalog
    kept: kept_tokenizers.KeptTokenizer
    quality: fits.FitQuality

    def save(self, path: Path, *, vectors: Path | None = None) -> None:
        """Writes the catalog with what encodes further items, all of it or nothing.

        Args:
            path: of the catalog's folder.
            vectors: the file they were read from; what embeds texts is taken from beside it.
        """

        def write_companions(folder: Path) -> None:
            self.kept.save(folder)
            if vectors is not None:
                keep_with_catalog(vectors, folder)

        self.catalog.save(path, write_companions=write_companions)


def learned_catalog(
    dataset: Dataset,
    vectors: Float[np.ndarray, "items dim"],
    method: str,
    config: BaseModel,
    *,
    collisions: CollisionPolicy | None,
    seed: int,
    made_of: Mapping[str, Any] | None = None,
    report: Report | None = None,
) -> Learned:
    """Fits a tokenizer on the vectors and makes the catalog of its codes.

    Args:
        dataset: whose items the vectors are.
        vectors: one per item.
        method: name or import path of the tokenizer.
        config: of that tokenizer.
        collisions: what becomes of items with equal codes; None: `reassign` where the last codes
            suffice for it, else `extra`.
        seed: of the fit.
        made_of: what the vectors were made of, for the record.
        report: of progress.

    Raises:
        ValueError: vectors of another number of items, or see `Tokenizer.fit`.
    """
    _check_items(dataset, vectors)
    fit = make_tokenizer(method, config).fit(vectors, seed=seed, report=report)
    if report is not None:
        report("quality of the codes", 0, 0)
    quality = fits.FitQuality.of(fit, vectors)
    if collisions is None:
        collisions = "reassign" if colliding.has_room(fit) else "extra"
    resolved = colliding.resolve_collisions(fit, vectors, policy=collisions, report=report)
    if report is not None:
        report("the trie", 0, 0)
    catalog = make_catalog(
        dataset, split_of(dataset), resolved.semantic_ids, resolved.codebook_sizes
    )
    kept = kept_tokenizers.KeptTokenizer.of(
        fit.tokenizer,
        vectors,
        method=method,
        config=config,
        seed=seed,
        collisions=collisions,
        moved=resolved.num_moved,
        made_of=made_of or {},
    )
    return Learned(catalog=catalog, kept=kept, quality=quality)


def tokenizer_config(
    method: str,
    values: dict[str, Any],
    vectors: Float[np.ndarray, "items dim"],
) -> BaseModel:
    """The configuration of a method; codebook sizes that nobody gave are chosen for the catalog.

    Raises:
        ValueError: an unknown key, or a value that is not valid.
    """
    with importing():  # imports the tokenizer
        kind = config_class(method)
    if "codebook_sizes" in kind.model_fields and "codebook_sizes" not in values:
        values = {**values, "codebook_sizes": suggested_codebook_sizes(vectors)}
    return checked(kind, values, method)


def tokenize(
    dataset: Annotated[Path, typer.Argument(help="The dataset folder.")],
    out: Annotated[Path, typer.Option("--out", help="The catalog folder to write.")],
    vectors: Annotated[
        Path | None, typer.Option(help="Vectors of these very items, from 'sidestep embed'.")
    ] = None,
    published: Annotated[
        Path | None, typer.Option(help="Semantic IDs of others: a *.index.json.")
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help=f"{', '.join(METHODS)}, or your own class as my_package.my_module:MyTokenizer."
        ),
    ] = DEFAULT_METHOD,
    codebook_sizes: Annotated[
        str | None,
        typer.Option(
            help="Codes per level, comma-separated; default: 256,256,256, less for small catalogs."
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A YAML file with settings of the method.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="One setting of the method, over the file: key=value."),
    ] = None,
    collisions: Annotated[
        CollisionPolicy | None,
        typer.Option(
            help="'reassign' gives items of one semantic ID another last code; 'extra' appends a "
            "level that numbers them; 'none' lets them share it. "
            "[default: reassign, or extra where the default codebooks are too small for it; none "
            "for published semantic IDs]"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the tokenizer.")] = 0,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Give every item a semantic ID and write the catalog.

    Examples:

      sidestep tokenize runs/my/dataset --vectors runs/my/vectors.npy --out runs/my/catalog

      sidestep tokenize DATASET --vectors V.npy --codebook-sizes 64,64,128 --out CATALOG

      sidestep tokenize DATASET --vectors V.npy --method rq-vae --set latent_dim=64 --out CATALOG

      sidestep tokenize DATASET --published Scientific.rkmeans_zcr.index.json --out CATALOG
    """
    if (vectors is None) == (published is None):
        raise ValueError("give either --vectors FILE or --published FILE.")
    loaded = load_dataset(dataset)
    sizes = None if codebook_sizes is None else parse_sizes(codebook_sizes)
    read = [dataset, vectors, published, config]
    check_out(out, overwrite=overwrite, read=read, is_kind=catalogs.Catalog.check_place)
    if published is not None:
        _refuse_settings(method, config, settings)
        ids = read_published(published, loaded.items.item_ids, codebook_sizes=sizes)
        catalog = _published_catalog(loaded, ids, collisions or "none")
        before = colliding.num_distinct(ids.semantic_ids)
        if dry_run:
            ids_of = {"items": catalog.num_items, "distinct": before}
            tell_plan(out, {**ids_of, "codebook_sizes": str(catalog.codebook_sizes)}, json=json)
            return
        catalog.save(out)
        quality: dict[str, Any] = {}
    else:
        assert vectors is not None
        given = load_item_vectors(vectors, loaded)
        values = _values(config, settings or [], sizes)
        task = _Task.of(method, values, given, collisions)
        if dry_run:
            seconds = estimates.seconds_of_tokenizing(method, task.config, given)
            time = {} if seconds is None else {ESTIMATE: seconds}
            tell_plan(out, {**task.sizes(), **time}, json=json)
            return
        with working(method) as report:
            learned = learned_catalog(
                loaded,
                given,
                method,
                task.config,
                collisions=task.collisions,
                seed=seed,
                made_of=vectors_info(vectors).made_of,
                report=report,
            )
        learned.save(out, vectors=vectors)
        catalog, before = learned.catalog, learned.quality.num_distinct
        quality = learned.quality.as_json()
        if task.collisions is None and learned.kept.record.collisions == "extra":
            say(
                "Note: more items are alike than the last level has codes to tell them apart, so "
                "another level numbers them (collisions 'extra'); to do without, embed more text "
                "or choose --codebook-sizes."
            )
    distinct = colliding.num_distinct(catalog.semantic_ids.numpy())
    if json:
        print_json(
            {
                "path": str(out),
                "items": catalog.num_items,
                "distinct": distinct,
                "distinct_before": before,
                "codebook_sizes": list(catalog.codebook_sizes),
                "version": catalog.version,
                **quality,
            }
        )
        return
    say(
        f"Wrote {out}: {catalog.num_items:,} items, {distinct:,} distinct semantic IDs "
        f"({before:,} before collisions were resolved) of {catalog.num_levels} codes from "
        f"{catalog.codebook_sizes}.",
        then=training_on(dataset, out),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """What is to be learned, checked before the work.

    collisions: what becomes of items with equal codes; None, as for `learned_catalog`, where
        neither that nor the codebooks were chosen: then it must work for any vectors.
    """

    method: str
    config: BaseModel
    vectors: Float[np.ndarray, "items dim"]
    collisions: CollisionPolicy | None

    @classmethod
    def of(
        cls,
        method: str,
        values: dict[str, Any],
        vectors: Float[np.ndarray, "items dim"],
        collisions: CollisionPolicy | None,
    ) -> "_Task":
        """The task that settings ask for; says what is likely to go wrong with it."""
        config = tokenizer_config(method, values, vectors)
        is_chosen = collisions is not None or "codebook_sizes" in values
        task = cls(
            method=method,
            config=config,
            vectors=vectors,
            collisions=(collisions or "reassign") if is_chosen else None,
        )
        if task.collisions is not None and task.codebook_sizes is not None:
            must_be_distinct = task.collisions == "reassign"
            for sentence in advice(vectors, task.codebook_sizes, must_be_distinct=must_be_distinct):
                say(f"Note: {sentence}")
        make_tokenizer(method, config)
        return task

    @property
    def codebook_sizes(self) -> tuple[int, ...] | None:
        """Codes per level; None where only the method knows."""
        sizes = getattr(self.config, "codebook_sizes", None)
        return sizes if isinstance(sizes, tuple) else None

    def sizes(self) -> dict[str, int | float | str]:
        """What a dry run says, after the checks that every method of ours makes first."""
        if self.codebook_sizes is not None:
            check_fittable(self.vectors, self.codebook_sizes)
        num_items, dim = self.vectors.shape
        sizes = getattr(self.config, "codebook_sizes", None)
        return {
            "items": num_items,
            "dimensions": dim,
            "method": self.method,
            "codebook_sizes": "decided by the method" if sizes is None else str(sizes),
        }


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


def _values(
    config: Path | None, settings: Sequence[str], sizes: tuple[int, ...] | None
) -> dict[str, Any]:
    """The settings of the method: the file, then `--set`, then the option of its own."""
    values = with_settings({} if config is None else read_yaml(config), settings)
    return values if sizes is None else {**values, "codebook_sizes": sizes}


def _refuse_settings(method: str, config: Path | None, settings: Sequence[str] | None) -> None:
    if method != DEFAULT_METHOD or config is not None or settings:
        raise ValueError(
            "--published takes semantic IDs as they are; --method, --config and --set are for "
            "--vectors."
        )


def _check_items(dataset: Dataset, vectors: Float[np.ndarray, "items dim"]) -> None:
    if len(vectors) != len(dataset.items):
        raise ValueError(
            f"{len(vectors)} vectors for the {len(dataset.items)} items of {dataset.name}; run "
            "'sidestep embed' on this dataset."
        )


def _published_catalog(
    dataset: Dataset, ids: PublishedIds, policy: CollisionPolicy
) -> catalogs.Catalog:
    if policy == "reassign":
        raise ValueError(
            "--collisions reassign needs the vectors behind the codes, which published semantic "
            "IDs come without; take 'extra' or 'none'."
        )
    semantic_ids: Int[np.ndarray, "items levels"] = ids.semantic_ids
    sizes = ids.codebook_sizes
    if policy == "extra":
        semantic_ids = colliding.with_numbers(semantic_ids)
        sizes = (*sizes, int(semantic_ids[:, -1].max(initial=0)) + 1)
    return make_catalog(dataset, split_of(dataset), semantic_ids, sizes)
