"""`sidestep embed`: one vector per item."""

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from sidestep.cli.console.output import print_json, say
from sidestep.cli.console.plan import tell_plan
from sidestep.cli.console.working import working
from sidestep.cli.options import WITH_COMMAS, AsJson, DryRun
from sidestep.cli.outputs import Overwrite, check_out
from sidestep.data.dataset import Dataset
from sidestep.data.names import split_names
from sidestep.embedding.config import CollaborativeConfig, SentenceConfig, TfidfConfig
from sidestep.embedding.vectors import check_vectors_file, info_file
from sidestep.notices import command
from sidestep.runs.inputs import load_dataset
from sidestep.runs.item_vectors import NAMES, ItemVectors, Sources, check_sources, item_vectors

DIM = 128
"""Width of text vectors, unless another is asked for."""

COLLABORATIVE_DIM = 64
"""Width of collaborative vectors, unless another is asked for."""


def embed(
    dataset: Annotated[Path, typer.Argument(help="The dataset folder.")],
    out: Annotated[Path, typer.Option("--out", help="The .npy file to write.")],
    text: Annotated[
        bool, typer.Option("--text", help="Source: TF-IDF of the texts; taken if none is named.")
    ] = False,
    sentence: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Source: the texts, read by a sentence-transformers model; a folder or a name.",
        ),
    ] = None,
    given: Annotated[
        Path | None,
        typer.Option(
            help="Source: your own vectors, .npy in the order of the items, or .npz or .parquet "
            "with item_id and vector."
        ),
    ] = None,
    collaborative: Annotated[
        bool, typer.Option("--collaborative", help="Source: co-occurrence in the training part.")
    ] = False,
    sasrec: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="Source: the item table of a SASRec trained on this dataset."
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE=NUMBER,...",
            help="Weights of sources beside each other, 1 where not named: text=1,sasrec=0.5",
        ),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(help=f"Text columns, {WITH_COMMAS}, in the order to read; default: all."),
    ] = None,
    dim: Annotated[
        int | None,
        typer.Option(min=1, help=f"Width of --text. [default: {DIM}, or what the texts allow]"),
    ] = None,
    collaborative_dim: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"Width of --collaborative. [default: {COLLABORATIVE_DIM}, at most one per item]",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the factorisations.")] = 0,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Turn item texts, co-occurrence or your own vectors into one vector per item.

    Several sources stand side by side, each brought to length 1 and multiplied by its weight.
    A sentence encoder reads an item's columns one per line, empty ones left out. Its work is kept
    in OUT.unfinished until OUT is written: the same command again continues it.

    Examples:

      sidestep embed runs/scientific/dataset --out runs/scientific/vectors.npy

      sidestep embed runs/beauty/dataset --text --collaborative --out runs/beauty/vectors.npy

      sidestep embed DATASET --sentence models/all-MiniLM-L6-v2 --sasrec runs/my/sasrec
      --weights sentence=1,sasrec=0.5 --out vectors.npy

      sidestep embed runs/my/dataset --given sentence-vectors.npy --out runs/my/vectors.npy
    """
    read = [dataset, given, sasrec, None if sentence is None else Path(sentence)]
    check_out(out, overwrite=overwrite, read=read, is_kind=check_vectors_file)
    parsed = {} if weights is None else parse_weights(weights)
    loaded = load_dataset(dataset)
    text = text or not (sentence or given or collaborative or sasrec)
    names = list(loaded.items.text_columns)
    if columns is not None:
        names = split_names(columns, loaded.items.text_columns.__contains__)
    _refuse_idle(
        {"--columns": columns, "--dim": dim, "--collaborative-dim": collaborative_dim},
        {
            "--columns": text or sentence is not None,
            "--dim": text,
            "--collaborative-dim": collaborative,
        },
    )
    unfinished = out.with_name(f"{out.name}.unfinished")
    sources = Sources(
        columns=names,
        text=TfidfConfig(dim=dim or DIM) if text else None,
        may_be_narrower=dim is None,
        sentence=None if sentence is None else SentenceConfig(model=sentence),
        given=given,
        collaborative=_collaborative_config(loaded, collaborative_dim) if collaborative else None,
        sasrec=sasrec,
        weights=parsed,
    )
    if dry_run:
        check_sources(loaded, sources)
        kept = f"in {unfinished}, to be continued" if unfinished.is_dir() else "nothing"
        used = ", ".join(sources.used)
        tell_plan(
            out, {"items": len(loaded.items), "sources": used, "encoded_before": kept}, json=json
        )
        return
    made = _made(loaded, sources, seed=seed, unfinished=unfinished)
    made.save(out, loaded.items.item_ids)
    shutil.rmtree(unfinished, ignore_errors=True)
    num_items, width = made.vectors.shape
    if json:
        print_json(
            {
                "path": str(out),
                "items": num_items,
                "dim": width,
                "items_without_vector": made.num_empty,
                **made.made_of,
            }
        )
        return
    say(
        f"Wrote {out} and {info_file(out).name}: {num_items:,} items, {width} dimensions, "
        f"{made.num_empty:,} items of which nothing is known.",
        then=command("tokenize", dataset, "--vectors", out, "--out", out.parent / "catalog"),
    )


def _made(dataset: Dataset, sources: Sources, *, seed: int, unfinished: Path) -> ItemVectors:
    """The vectors; says on Ctrl-C what is kept of the work."""
    try:
        with working("embedding") as report:
            return item_vectors(dataset, sources, seed=seed, unfinished=unfinished, report=report)
    except KeyboardInterrupt:
        if unfinished.is_dir():
            say(f"What is encoded is kept in {unfinished}; the same command again continues.")
        raise


def parse_weights(text: str) -> dict[str, float]:
    """Weights of sources, such as text=1,sasrec=0.5.

    Raises:
        ValueError: for anything else.
    """
    weights: dict[str, float] = {}
    for part in split_names(text):
        name, _, number = part.partition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if name not in NAMES or name in weights or not 0 < weight < math.inf:
            raise ValueError(
                f"--weights {text!r}: {part!r} is no weight; write each source once, with a finite "
                f"number above 0, such as text=1,sasrec=0.5. Sources: {', '.join(NAMES)}."
            )
        weights[name] = weight
    return weights


def _collaborative_config(dataset: Dataset, asked: int | None) -> CollaborativeConfig:
    num_items = len(dataset.items)
    if asked is not None and asked > num_items:
        raise ValueError(
            f"--collaborative-dim {asked}: {dataset.name} has only {num_items} items; lower it or "
            "leave it out."
        )
    return CollaborativeConfig(dim=asked or min(COLLABORATIVE_DIM, num_items))


def _refuse_idle(given: Mapping[str, object], is_read: Mapping[str, bool]) -> None:
    """Refuses options that no source of this call would read."""
    for name, value in given.items():
        if value is not None and not is_read[name]:
            raise ValueError(f"{name} says nothing here: no source that is named reads it.")
