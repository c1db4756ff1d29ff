"""`sidestep inspect`: what semantic IDs are worth, before a model is trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text
from rich.tree import Tree

from sidestep.cli.console.next_step import training_on
from sidestep.cli.console.output import OUT, print_json, say, table
from sidestep.cli.console.working import working
from sidestep.cli.options import AsJson
from sidestep.cli.outputs import refuse_report_at
from sidestep.data.own_split import split_of
from sidestep.lazy_imports import imported_when_used
from sidestep.runs.catalogs import refuse_other_items
from sidestep.runs.inputs import load_catalog, load_dataset
from sidestep.runs.kept_paths import names_of
from sidestep.runs.provenance import load_item_vectors, refuse_other_training_of

with imported_when_used():
    from sidestep.evaluation import id_examples as examples
    from sidestep.evaluation.report import id_tables as tables_report
    from sidestep.evaluation.report import ids as ids_report
    from sidestep.evaluation.report import page as pages
    from sidestep.evaluation.report import table as tables
    from sidestep.runs import inspection

NUM_NEIGHBOURS = 10
"""Neighbours of each item, unless another number is asked for."""


def inspect(
    catalog: Annotated[Path, typer.Argument(help="The catalog folder.")],
    dataset: Annotated[Path, typer.Option(help="The dataset folder.")],
    vectors: Annotated[
        Path | None,
        typer.Option(help="Item vectors, from 'sidestep embed', to compare the IDs with."),
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(help="Another catalog of the same items; may be given several times."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Also write an HTML page, with curves.")
    ] = None,
    window: Annotated[
        int, typer.Option(min=1, help="Items so far apart in training belong together.")
    ] = 1,
    neighbours: Annotated[
        int, typer.Option(min=1, help="Nearest neighbours of each item.")
    ] = NUM_NEIGHBOURS,
    item: Annotated[
        str | None, typer.Option(help="The item whose way is shown; default: the most popular.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the random examples.")] = 0,
    json: AsJson = False,
) -> None:
    """Report the quality of semantic IDs: use of codes, collisions, prefixes, agreement, balance.

    Only the training part of the dataset is read. All IDs are compared as they are, whatever made
    them; the vectors need not be those that they were made from.

    Examples:

      sidestep inspect runs/scientific/text-3x256 --dataset runs/scientific/dataset

      sidestep inspect runs/my/catalog --dataset runs/my/dataset --vectors runs/my/vectors.npy
      --against runs/my/published --out ids.html
    """
    if out is not None:
        refuse_report_at(out, option="--out")
    loaded = load_dataset(dataset)
    training = split_of(loaded).train
    given = None
    if vectors is not None:
        given = load_item_vectors(vectors, loaded)
    paths = [catalog, *(against or ())]
    if len({path.resolve() for path in paths}) < len(paths):
        raise ValueError("--against names a catalog twice; leave one out.")
    catalogs = {
        name: (path, load_catalog(path)) for name, path in zip(names_of(paths), paths, strict=True)
    }
    inspected = {}
    for name, (path, each) in catalogs.items():
        refuse_other_items(each, loaded)
        refuse_other_training_of(each, loaded, f"the catalog {path}")
        with working(f"measuring {name}"):
            inspected[name] = inspection.inspected_ids(
                path,
                each,
                training,
                given,
                window=window,
                num_neighbours=neighbours,
                item=item,
                seed=seed,
            )
    if out is not None:
        facts = {
            "Dataset": loaded.name,
            "Items": f"{len(loaded.items):,}",
            "Training interactions": f"{len(training.histories.items):,}",
            "Vectors": "none" if vectors is None else str(vectors),
        }
        pages.write_page(
            out, ids_report.id_page(f"Semantic IDs of {loaded.name}", facts, inspected)
        )
    if json:
        print_json(
            {
                "dataset": loaded.name,
                "report": None if out is None else str(out),
                "ids": {
                    name: {"catalog": str(catalogs[name][0]), **ids.quality.as_json()}
                    for name, ids in inspected.items()
                },
            }
        )
        return
    _print(loaded.name, inspected)
    if vectors is None:
        say("With --vectors FILE the same command says what only vectors can tell.")
    first, *_ = catalogs.values()
    say(
        "With --out FILE.html it draws curves." if out is None else f"Wrote {out}.",
        then=training_on(dataset, catalog, first[1].space),
    )


def _print(dataset: str, inspected: dict[str, ids_report.InspectedIds]) -> None:
    for section in tables_report.id_tables({name: ids.quality for name, ids in inspected.items()}):
        for made in section.parts:
            assert isinstance(made, tables.Table)
            rows = [[_cell(entry) for entry in row] for row in made.rows]
            if len(inspected) > 1:
                rows = _named_once(rows)
            OUT.print(table(section.title, made.columns, rows))
        OUT.print(Text(section.lead, style="dim"), end="\n\n")
    name, ids = next(iter(inspected.items()))
    OUT.print(Text(f"Examples of {name} on {dataset}", style="bold"))
    *kinds, way = ids_report.id_examples_in_words(ids.examples)
    for example in kinds:
        OUT.print()
        _print_line(example.title, style="italic")
        for prefix in example.lists:
            _print_line(f"  {prefix.heading}")
            for words in prefix.items:
                _print_line(f"    {words}")
    OUT.print()
    _print_line(way.title, style="italic")
    OUT.print(_tree(ids.examples.way))


def _cell(entry: tables.Entry) -> str:
    if entry is None:
        return ""
    return tables.number(entry) if isinstance(entry, int | float) else str(entry)


def _named_once(rows: list[list[str]]) -> list[list[str]]:
    """The rows with their set's name in the first row of each set alone."""
    before = ["", *(row[0] for row in rows)]
    return [
        ["" if row[0] == name else row[0], *row[1:]]
        for name, row in zip(before, rows, strict=False)
    ]


def _tree(way: Sequence[examples.Step]) -> Tree:
    """The item's own branch open to its end, the others closed."""
    root = Tree("", guide_style="dim", hide_root=True)
    parent = root
    for step in way:
        parent, *_ = [
            parent.add(Text(words.replace("\n", " "), no_wrap=True, overflow="ellipsis"))
            for words in ids_report.branches_in_words(step)
        ]
    return root


def _print_line(words: str, style: str = "") -> None:
    """One line, cut where the terminal ends."""
    OUT.print(Text(words.replace("\n", " "), style), no_wrap=True, overflow="ellipsis")
