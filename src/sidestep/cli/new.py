"""`sidestep new`: a commented pipeline for a user's tables, after a look at them."""

import json as json_format
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from sidestep.cli.config import checked
from sidestep.cli.console import OUT, command, print_json, say, table
from sidestep.cli.guess import Columns, Guess, guess_columns, sample_of, table_size
from sidestep.cli.options import AsJson, plain_name
from sidestep.cli.pipeline import pipeline_of
from sidestep.cli.pipeline_config import CONFIG_FILE, PipelineConfig
from sidestep.cli.plain_yaml import parse_yaml
from sidestep.files import whole_file

_WORK = 1_400_000
"""Interactions times epochs that a Transformer of the middle size gets through in ten minutes on
two cores."""


_MANY = 0.01
"""Share of interactions with an item of before from which on people come back to items."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large models are and how long they train, for a number of interactions."""

    dim: int
    num_layers: int
    epochs: int
    sasrec_dim: int
    sasrec_epochs: int

    @classmethod
    def of(cls, num_interactions: int) -> "Size":
        """Minutes on two cores up to some hundred thousand interactions; then in proportion."""
        is_small = num_interactions < 20_000
        work = _WORK * (3 if is_small else 1)
        epochs = round(work / max(num_interactions, 1))
        return cls(
            dim=64 if is_small else 128,
            num_layers=2 if is_small else 4,
            epochs=min(40, max(3, epochs)),
            sasrec_dim=64 if is_small else 128,
            sasrec_epochs=min(50, max(5, 2 * epochs)),
        )


def new(
    folder: Annotated[Path, typer.Argument(help="The folder to work in; made if it is missing.")],
    interactions: Annotated[
        Path | None,
        typer.Option(help="CSV, TSV, Parquet or JSON lines, an interaction per row."),
    ] = None,
    items: Annotated[Path | None, typer.Option(help="The same of items, with their texts.")] = None,
    user: Annotated[str | None, typer.Option(help="Column of users; default: guessed.")] = None,
    item: Annotated[str | None, typer.Option(help="Column of items; default: guessed.")] = None,
    time: Annotated[str | None, typer.Option(help="Column of times; default: guessed.")] = None,
    items_id: Annotated[
        str | None, typer.Option(help="Column of item IDs in --items; default: guessed.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Look at the tables and write nothing.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Write a commented pipeline for your tables, which 'sidestep run' then runs.

    Examples:

      sidestep new shop --interactions events.csv --items products.csv

      sidestep new shop --interactions clicks.parquet --user visitor --item sku --time at
    """
    file = folder / CONFIG_FILE
    if file.exists():
        raise ValueError(f"{file} exists; edit it, or choose another folder.")
    if interactions is None:
        if any(option is not None for option in (items, user, item, time, items_id)):
            raise ValueError("give --interactions FILE as well, or none of the others.")
        columns, text = None, _text(folder, None, None, _UNSEEN, _Seen())
    else:
        events = sample_of(interactions)
        columns = guess_columns(
            events,
            None if items is None else sample_of(items),
            user=user,
            item=item,
            time=time,
            items_id=items_id,
        )
        assert columns.user.column is not None
        assert columns.item.column is not None
        pairs = events.select(columns.user.column, columns.item.column)
        seen = _Seen(
            *table_size(interactions, columns.user.column, columns.item.column),
            share_repeated=1 - pairs.n_unique() / max(pairs.height, 1),
        )
        text = _text(folder, interactions, items, columns, seen)
        # Not a word is written that 'sidestep run' would refuse.
        pipeline_of(checked(PipelineConfig, parse_yaml(text, str(file)), str(file)), file)
    if not dry_run:
        with whole_file(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    if json:
        told = None if columns is None else asdict(columns)
        print_json({"path": str(file), "columns": told, "written": not dry_run})
        return
    if columns is not None:
        OUT.print(table("Columns", ["what", "column", "why"], _rows(columns)))
    if dry_run:
        say("Nothing was written.")
        return
    run = command("run", folder)
    if columns is None:
        say(f"Wrote {file}. Write the names of your tables and columns into it, then: {run}")
    else:
        say(f"Wrote {file}. If a column is wrong, correct it there.", then=run)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a look at the interactions showed; what to assume without one."""

    num_interactions: int = 50_000
    num_users: int = 0
    num_items: int = 0
    share_repeated: float = 0.0


_UNSEEN = Columns(
    user=Guess(column="user_id", why=""),
    item=Guess(column="item_id", why=""),
    time=Guess(column="timestamp", why=""),
    items_id=Guess(column="item_id", why=""),
    texts=["title"],
)


def _rows(columns: Columns) -> list[list[str]]:
    guesses = {"user": columns.user, "item": columns.item, "time": columns.time}
    rows = [[what, guess.column or "none", guess.why] for what, guess in guesses.items()]
    if columns.items_id is not None:
        rows.append(["item, in the items", columns.items_id.column or "", columns.items_id.why])
        rows.append(["texts", ", ".join(columns.texts) or "none", "neither numbers nor addresses"])
    return rows


def _text(
    folder: Path, interactions: Path | None, items: Path | None, columns: Columns, seen: _Seen
) -> str:
    """The configuration as text, because YAML writers know no comments."""
    has_items = items is not None or interactions is None
    about = (
        f"{seen.num_interactions:,} interactions of {seen.num_users:,} users with "
        f"{seen.num_items:,} items"
        if seen.num_users
        else "nothing was looked at yet: put in the names of your files and columns"
    )
    unseen = _plain(seen.share_repeated < _MANY)
    return f"""\
# A pipeline: {command("run", folder)}
# ({about})
#
# The sections are commands, and their keys are the options of these commands without the dashes:
# 'sidestep embed --help' says what may stand under embed. Paths are seen from this file.
# After a change, run it again: only what depends on the change is done again.

out: .
seed: 0

import:
  from: table   # or another kind, see 'sidestep import --help'
  name: {_plain(plain_name(folder.resolve().name))}   # in results
  path: {_plain("events.csv" if interactions is None else os.path.relpath(interactions, folder))}
  user: {_plain(columns.user.column)}
  item: {_plain(columns.item.column)}
  time: {_plain(columns.time.column)}   # null: the rows stand in the order of events
{_import_of_items(folder, items, columns) if has_items else _NO_ITEMS}
  # k-core: 5   # leave out users and items with fewer interactions

# split:   # without it, each user's last two items are held out: training sees what came later
#   strategy: global-time   # holds out the latest interactions and trains on the past alone
#   validation-share: 0.1   # or moments, as in validation-from: 2024-07-01
#   test-share: 0.1         # and test-from: 2024-10-01

embed:
  {_EMBED_TEXT if has_items and columns.texts else _EMBED_BEHAVIOUR}

tokenize: {{}}   # codebook-sizes: 256,256,256 unless the catalog is small

train:
{_train(seen)}

evaluate:
  split: test
  exclude-seen: {unseen}   # true where nobody takes an item twice

compare: {{}}

recommend:
  users: 3   # so many are answered at the end
  k: 10
  exclude-seen: {unseen}
"""


_NO_ITEMS = "  # items: items.csv   # texts about the items, if you have any"

_EMBED_TEXT = """\
text: true   # what the items' texts say
  # collaborative: true   # and beside it who took what, in the training part"""

_EMBED_BEHAVIOUR = (
    "collaborative: true   # who took what, in the training part, as there are no texts"
)


def _import_of_items(folder: Path, items: Path | None, columns: Columns) -> str:
    """The part of the import that reads the items' texts."""
    path = "items.csv" if items is None else os.path.relpath(items, folder)
    item_id = columns.items_id.column if columns.items_id else None
    return f"""\
  items: {_plain(path)}
  items-id: {_plain(item_id)}   # the item IDs in that file
  columns: {_plain(columns.texts)}   # its words; the first column is what items are called"""


def _train(seen: _Seen) -> str:
    """The runs, as large and as long as the interactions allow."""
    size = Size.of(seen.num_interactions)
    mean_length = seen.num_interactions / max(seen.num_users, 1)
    history = 50 if seen.num_users and mean_length > 30 else 20
    return f"""\
  popularity: {{kind: popularity}}

  sasrec:   # the baseline to beat
    kind: sasrec
    max_history: {history}
    min_context: 0
    model: {{dim: {size.sasrec_dim}, max_items: {history}, dropout: 0.5}}
    training:
      epochs: {size.sasrec_epochs}
      batch_size: 64
      learning_rate: 0.001
      weight_decay: 0.01
      betas: [0.9, 0.999]
      validate_every: {max(1, size.sasrec_epochs // 6)}

  transformer:   # writes semantic IDs
    kind: transformer
    max_history: {history}   # most recent items that are looked at
    min_context: 0
    model:
      dim: {size.dim}
      num_layers: {size.num_layers}
      history: items
      item_embedding: true
      item_head: true
      dropout: 0.3
    objective: {{item_weight: 1.0, distillation_weight: 2.0}}
    training:
      epochs: {size.epochs}   # more is better, up to a point, and takes longer
      batch_size: 64
      learning_rate: 0.002
      weight_decay: 0.01
      validate_every: {max(1, size.epochs // 6)}
      # trackers: [tensorboard]   # needs pip install 'sidestep[track]'"""


def _plain(value: Any) -> str:
    """A value as YAML on one line."""
    return json_format.dumps(value, ensure_ascii=False)
