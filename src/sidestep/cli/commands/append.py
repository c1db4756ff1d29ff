"""`sidestep append`: new items in a trained bundle, whose IDs and weights stay as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sidestep.bundle.choices import NewRows
from sidestep.bundle.manifest import bundle_folder
from sidestep.cli.bundle_outputs import check_bundle_out
from sidestep.cli.console.next_step import recommendation_by
from sidestep.cli.console.output import print_json, say
from sidestep.cli.console.working import working
from sidestep.cli.options import AsJson
from sidestep.cli.outputs import Overwrite
from sidestep.data.importers.table import read_items
from sidestep.lazy_imports import imported_when_used
from sidestep.runs.appending import append_table
from sidestep.runs.inputs import load_bundle
from sidestep.tokenizer.choices import FullGroupPolicy

with imported_when_used():
    from sidestep.baselines import fitted_ranker
    from sidestep.bundle import loaded as recommenders


def append(
    bundle: Annotated[Path, typer.Argument(help="The bundle, or the run that holds it.")],
    items: Annotated[
        Path, typer.Option("--items", help="The new items: CSV, TSV, Parquet, JSON lines or JSON.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The bundle to write.")],
    item: Annotated[str, typer.Option("--item", help="Column of item IDs.")] = "item_id",
    vectors: Annotated[
        Path | None,
        typer.Option(
            help="Vectors of the new items from the embedding of the old ones, .npy in the order "
            "of --items, or .npz or .parquet with item_id and vector; default: made of the texts."
        ),
    ] = None,
    sentence: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Where the sentence encoder of the old vectors is now; default: where it was.",
        ),
    ] = None,
    full_groups: Annotated[
        FullGroupPolicy,
        typer.Option(
            help="Where the items that share all codes but the last leave no last code free: "
            "'refuse', or 'share' the semantic ID of the nearest."
        ),
    ] = "refuse",
    new_rows: Annotated[
        NewRows,
        typer.Option(
            help="The row of a new item where a network has a row per item: 'siblings', the mean "
            "row of the items that share most of its codes; or 'zeros', so that the codes alone "
            "speak for it."
        ),
    ] = "siblings",
    overwrite: Overwrite = False,
    json: AsJson = False,
) -> None:
    """Add new items to a trained bundle; nothing that it knows changes, and nothing is trained.

    New items are embedded as the old ones were: by the TF-IDF that lies in the bundle, or by the
    sentence encoder that it names. Each new item gets the free semantic ID nearest to its vector.
    Where the last code numbers the items of a bucket, the new item gets the next number, and there
    is always one. A network of semantic IDs recommends the item by what the network has learned of
    these codes. SASRec recommends the item by the items that share most of these codes. A
    transition graph finds the item by its vector. Popularity counts the item as zero.

    Examples:

      sidestep append runs/my/transformer --items new-products.csv --item sku --out runs/my/bundle-2

      sidestep append BUNDLE --items new.csv --vectors new-vectors.npy --out BUNDLE-2
    """
    if vectors is not None and sentence is not None:
        raise ValueError(
            "--sentence reads texts, and --vectors stand for them; give one of the two."
        )
    check_bundle_out(out, overwrite=overwrite, source=bundle)
    loaded = load_bundle(bundle, device="cpu")
    table = read_items(items, item)
    appended = append_table(
        loaded,
        table,
        folder=bundle_folder(bundle) / "catalog",
        vectors=vectors,
        sentence=sentence,
        full_groups=full_groups,
        new_rows=new_rows,
    )
    grown = appended.grown
    with working("writing the bundle"):
        grown.save(out)
    if json:
        print_json(
            {
                "path": str(out),
                "appended": len(table),
                "items": grown.catalog.num_items,
                "moved": appended.num_moved,
                "shared": appended.num_shared,
                "items_without_vector": appended.num_empty,
                "codebook_sizes": list(grown.catalog.codebook_sizes),
                "version": grown.catalog.version,
                "parent_version": grown.catalog.parent_version,
            }
        )
        return
    if appended.num_empty:
        say(
            f"Note: nothing is known of {appended.num_empty:,} new items; they get the codes of no "
            "text."
        )
    say(
        f"Wrote {out}: {len(table):,} new items beside {loaded.catalog.num_items:,}. "
        f"{appended.num_moved:,} of the new items got a code that is not the nearest, because "
        "another item has the nearest."
    )
    say(_about_lists(grown), then=recommendation_by(out, grown.catalog))


def _about_lists(grown: recommenders.LoadedRecommender) -> str:
    """A sentence on where new items appear in lists."""
    by_graph = isinstance(grown.ranker, fitted_ranker.FittedRanker)
    ranks_all = not grown.is_searched or grown.manifest.search.name == "item-head"
    if grown.kind == "graph" or (by_graph and ranks_all):
        return "The graph shows the new items by their vectors."
    if grown.network is None:
        return "Nobody has taken the new items yet, so they stand at the end of lists."
    return (
        "The network has learned nothing of the new items, so its lists seldom show them: keep "
        "places for them with 'sidestep recommend --new-places 2', or put a graph beside the "
        "network before 'sidestep append', with 'sidestep attach'."
    )
