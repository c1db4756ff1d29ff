"""`sidestep tokenize`: makes a catalog of vectors, or of published semantic IDs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from sidestep.cli.console.next_step import training_on, training_on_titles
from sidestep.cli.console.output import print_json, say
from sidestep.cli.console.plan import ESTIMATE, tell_plan
from sidestep.cli.console.working import working
from sidestep.cli.options import AsJson, DryRun
from sidestep.cli.outputs import Overwrite, check_out
from sidestep.data.dataset import Dataset
from sidestep.embedding.vectors import vectors_info
from sidestep.lazy_imports import imported_when_used
from sidestep.runs.catalogs import published_catalog
from sidestep.runs.inputs import load_dataset
from sidestep.runs.plain_yaml import read_yaml
from sidestep.runs.provenance import load_item_vectors
from sidestep.runs.settings import with_settings
from sidestep.runs.tokenizing import TokenizerTask, chosen_space
from sidestep.tokenizer.choices import CollisionPolicy
from sidestep.tokenizer.methods import DEFAULT_METHOD, METHODS
from sidestep.tokenizer.published import read_published

with imported_when_used():
    from sidestep.catalog import catalog as catalogs
    from sidestep.runs import estimates, language_titles
    from sidestep.tokenizer import collisions as colliding


def tokenize(
    dataset: Annotated[Path, typer.Argument(help="The dataset folder.")],
    out: Annotated[Path, typer.Option("--out", help="The catalog folder to write.")],
    vectors: Annotated[
        Path | None, typer.Option(help="Vectors of these very items, from 'sidestep embed'.")
    ] = None,
    published: Annotated[
        Path | None, typer.Option(help="Semantic IDs of others: a *.index.json.")
    ] = None,
    titles: Annotated[
        str | None,
        typer.Option(
            help="The tokens of titles as codes: the folder of a language model, or its name on "
            "the Hugging Face hub."
        ),
    ] = None,
    title_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="With --titles: tokens that are read of a title. [default: 16]"),
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
            help="Codes per level, comma-separated; default: 256,256,256, eight such for mpq, less "
            "for small catalogs."
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
            help="'reassign' gives items of one semantic ID another last code, in sets any other "
            "code; 'extra' appends a "
            "level that numbers them; 'none' lets them share it. "
            "[default: reassign, or extra where the default codebooks are too small for it; none "
            "for published semantic IDs]"
        ),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            help="What the codes span: a 'trie', where they have an order; 'sets', where they have "
            "none; or your own class as my_package.my_module:MySpace. [default: sets for mpq, "
            "else trie]"
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

      sidestep tokenize DATASET --vectors V.npy --method mpq --out CATALOG

      sidestep tokenize DATASET --vectors V.npy --method opq --space sets --out CATALOG

      sidestep tokenize DATASET --vectors V.npy --space my_package.my_module:MySpace --out CATALOG

      sidestep tokenize DATASET --titles HuggingFaceTB/SmolLM2-135M-Instruct --out CATALOG
    """
    if sum(source is not None for source in (vectors, published, titles)) != 1:
        raise ValueError("give either --vectors FILE, --published FILE or --titles MODEL.")
    loaded = load_dataset(dataset)
    sizes = None if codebook_sizes is None else parse_sizes(codebook_sizes)
    read = [dataset, vectors, published, config]
    check_out(out, overwrite=overwrite, read=read, is_kind=catalogs.Catalog.check_place)
    if title_tokens is not None and titles is None:
        raise ValueError("--title-tokens is for --titles; leave the option out.")
    if titles is not None:
        _refuse_settings(method, config, settings)
        for option, value in (
            ("--codebook-sizes", codebook_sizes),
            ("--collisions", collisions),
            ("--space", space),
        ):
            if value is not None:
                raise ValueError(f"{option}: --titles has its codes already; leave the option out.")
        catalog = language_titles.title_catalog(loaded, titles, num_levels=title_tokens or 16)
        before = colliding.num_distinct(catalog.semantic_ids.numpy())
        if dry_run:
            tell_plan(out, {"items": catalog.num_items, "distinct": before}, json=json)
            return
        catalog.save(out)
        made = _Made(catalog=catalog, before=before, quality={}, titles_of=titles)
    elif published is not None:
        _refuse_settings(method, config, settings)
        ids = read_published(published, loaded.items.item_ids, codebook_sizes=sizes)
        spanned = chosen_space(space)
        catalog = published_catalog(loaded, ids, collisions or "none", space=spanned)
        before = colliding.num_distinct(ids.semantic_ids)
        if dry_run:
            ids_of = {"items": catalog.num_items, "distinct": before}
            tell_plan(out, {**ids_of, "codebook_sizes": str(catalog.codebook_sizes)}, json=json)
            return
        catalog.save(out)
        made = _Made(catalog=catalog, before=before, quality={})
    else:
        assert vectors is not None
        given = load_item_vectors(vectors, loaded)
        values = _values(config, settings or [], sizes)
        task = TokenizerTask.of(method, values, given, collisions, space=space)
        if dry_run:
            seconds = estimates.seconds_of_tokenizing(method, task.config, given)
            time = {} if seconds is None else {ESTIMATE: seconds}
            tell_plan(out, {**task.sizes(), **time}, json=json)
            return
        made = _learned(task, loaded, vectors, out, seed=seed)
    _tell(made, dataset, out, json=json)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """A catalog that was written.

    before: distinct semantic IDs before collisions were resolved.
    quality: of the codes, as JSON; empty where nothing was learned.
    titles_of: the language model whose tokens are the codes; None where they are no tokens.
    """

    catalog: catalogs.Catalog
    before: int
    quality: dict[str, Any]
    titles_of: str | None = None


def _learned(
    task: TokenizerTask, dataset: Dataset, vectors: Path, out: Path, *, seed: int
) -> _Made:
    """Learns the tokenizer and writes its catalog."""
    with working(task.method) as report:
        learned = task.learn(
            dataset, seed=seed, made_of=vectors_info(vectors).made_of, report=report
        )
    learned.save(out, vectors=vectors)
    if task.collisions is None and learned.kept.record.collisions == "extra":
        say(
            "Note: more items are alike than the last level has codes to tell them apart, so "
            "another level numbers them (collisions 'extra'); to do without, embed more text "
            "or choose --codebook-sizes."
        )
    return _Made(
        catalog=learned.catalog,
        before=learned.quality.num_distinct,
        quality=learned.quality.as_json(),
    )


def _tell(made: _Made, dataset: Path, out: Path, *, json: bool) -> None:
    """Prints what was written, and the next command."""
    catalog = made.catalog
    distinct = colliding.num_distinct(catalog.semantic_ids.numpy())
    if json:
        print_json(
            {
                "path": str(out),
                "items": catalog.num_items,
                "distinct": distinct,
                "distinct_before": made.before,
                "codebook_sizes": list(catalog.codebook_sizes),
                "version": catalog.version,
                **made.quality,
            }
        )
        return
    say(
        f"Wrote {out}: {catalog.num_items:,} items, {distinct:,} distinct semantic IDs "
        f"({made.before:,} before collisions were resolved) of {catalog.num_levels} codes from "
        f"{catalog.codebook_sizes}.",
        then=training_on(dataset, out, catalog.space)
        if made.titles_of is None
        else training_on_titles(dataset, out, made.titles_of),
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


def _values(
    config: Path | None, settings: Sequence[str], sizes: tuple[int, ...] | None
) -> dict[str, Any]:
    """The settings of the method: the file, then `--set`, then the option of its own."""
    values = with_settings({} if config is None else read_yaml(config), settings)
    return values if sizes is None else {**values, "codebook_sizes": sizes}


def _refuse_settings(method: str, config: Path | None, settings: Sequence[str] | None) -> None:
    if method != DEFAULT_METHOD or config is not None or settings:
        raise ValueError(
            "--published and --titles have their codes already; --method, --config and --set are "
            "for --vectors."
        )
