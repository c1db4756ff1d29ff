"""`sidestep new`: a commented pipeline for a user's tables, after a look at them."""

from __future__ import annotations

import json as json_format
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from sidestep.cli.console.output import OUT, print_json, say, table, warn
from sidestep.cli.options import AsJson
from sidestep.data.names import plain_name, quoted_name
from sidestep.files import whole_file
from sidestep.lazy_imports import imported_when_used
from sidestep.notices import command

with imported_when_used():
    from sidestep.cli import found as looks
    from sidestep.cli import guess as guessing
    from sidestep.cli import pipeline_commands
    from sidestep.data import events
    from sidestep.pipelines import config as pipeline_config
    from sidestep.pipelines import pipeline
    from sidestep.runs import defaults, judged_rows, plain_yaml
    from sidestep.runs import settings as configs


_UNSEEN_INTERACTIONS = 50_000
"""The assumed number of interactions where no table was looked at."""

_MANY = 0.01
"""The share of repeats from which on the pipeline reckons with them, see `Found.repeats`."""


def new(
    folder: Annotated[Path, typer.Argument(help="The folder to work in; made if it is missing.")],
    interactions: Annotated[
        Path | None,
        typer.Option(
            help="CSV, TSV, Parquet or JSON, an interaction per row; or a folder of its parts."
        ),
    ] = None,
    items: Annotated[Path | None, typer.Option(help="The same of items, with their texts.")] = None,
    user: Annotated[str | None, typer.Option(help="Column of users; default: guessed.")] = None,
    item: Annotated[str | None, typer.Option(help="Column of items; default: guessed.")] = None,
    time: Annotated[
        str | None,
        typer.Option(
            help="Column of times, or 'none' to take the rows in their order; default: guessed."
        ),
    ] = None,
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
    file = folder / pipeline_config.CONFIG_FILE
    if file.exists():
        raise ValueError(f"{file} exists; edit it, or choose another folder.")
    columns, found = None, None
    if interactions is None:
        if any(option is not None for option in (items, user, item, time, items_id)):
            raise ValueError("give --interactions FILE as well, or none of the others.")
    else:
        columns = guessing.guess_columns(
            guessing.sample_of(interactions).frame,
            None if items is None else guessing.sample_of_items(items),
            user=user,
            item=item,
            time=time,
            items_id=items_id,
        )
        # Imported here and now, so that 'sidestep run' will not refuse what is written.
        found = looks.look_into(interactions, items, columns)
    text = _text(folder, interactions, items, columns or _unseen(), found)
    if interactions is not None:
        written = plain_yaml.parse_yaml(text, str(file))
        config = configs.checked(pipeline_config.PipelineConfig, written, str(file))
        pipeline.pipeline_of(config, file, find=pipeline_commands.find_command)
    if not dry_run:
        with whole_file(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    if json:
        print_json(
            {
                "path": str(file),
                "columns": None if columns is None else asdict(columns),
                "found": None if found is None else found.as_json(),
                "written": not dry_run,
            }
        )
        return
    if columns is not None and found is not None:
        _tell(columns, found, folder)
    if dry_run:
        say("Nothing was written.")
        return
    run = command("run", folder)
    if columns is None:
        say(f"Wrote {file}. Write the names of your tables and columns into it, then: {run}")
    else:
        say(f"Wrote {file}. If a column is wrong, correct it there.", then=run)


def _tell(columns: guessing.Columns, found: looks.Found, folder: Path) -> None:
    """Shows the columns and what they hold, and warns of what is odd about them."""
    OUT.print(table("Columns", ["what", "column", "why"], _rows(columns)))
    OUT.print(table("What they hold", ["", ""], found.rows()))
    for remark in found.remarks:
        say(remark)
    if columns.time.column is None and columns.time.why != guessing.AS_SAID:
        warn(
            f"no column is taken for the times ({columns.time.why}), so the rows must stand in the "
            "order of events; name the column with --time, or say --time none."
        )
    if found.words:
        said = ", ".join(f"{word!r:.60} in {number:,} rows" for word, number in found.words.items())
        others = "".join(
            f" With --user {name} every {name} would be a user instead."
            for name in columns.other_users[:1]
        )
        warn(
            f'some IDs read like words for "not known": {said}. These rows are left out, by '
            f"missing-words under import in the file.{others}"
        )
    for doubt in found.doubts:
        warn(doubt)
    if found.repeats >= _MANY:
        say(
            "People come back to items here, so the pipeline also has the run 'repeats' (a user's "
            "own most frequent items, then popular ones), which networks have to beat, and lists "
            "may hold seen items."
        )
    if found.needs_split:
        warn(
            "no user has three interactions or more, so nobody's last two can be held out; the "
            "file splits by time instead, under split."
        )
    else:
        judged_rows.warn_of_no_rows(found.dataset, folder / pipeline.DATASET)


def _unseen() -> guessing.Columns:
    """The columns of tables that nobody has looked at."""
    user, item, time = (
        guessing.Guess(column=name, why="") for name in ("user_id", "item_id", "timestamp")
    )
    return guessing.Columns(user=user, item=item, time=time, items_id=item, texts=["title"])


def _rows(columns: guessing.Columns) -> list[list[str]]:
    guesses = {"user": columns.user, "item": columns.item, "time": columns.time}
    if columns.event.column is not None:
        guesses["event type"] = columns.event
    rows = [[what, guess.column or "none", guess.why] for what, guess in guesses.items()]
    if columns.items_id is not None:
        rows.append(["item, in the items", columns.items_id.column or "", columns.items_id.why])
        rows.append(["texts", ", ".join(columns.texts) or "none", "neither numbers nor addresses"])
    return rows


def _text(
    folder: Path,
    interactions: Path | None,
    items: Path | None,
    columns: guessing.Columns,
    found: looks.Found | None,
) -> str:
    """The text of the configuration. It is written here, because YAML writers know no comments."""
    has_items = items is not None or interactions is None
    about = "nothing was looked at yet: put in the names of your files and columns"
    if found is not None:
        seen = found.profile
        about = (
            f"{seen.interactions:,} interactions of {seen.users:,} users with {seen.items:,} items"
        )
    unseen = _plain(found is None or found.repeats < _MANY)
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
{_import_of_gaps(found)}{_import_of_events(columns, found)}\
{_import_of_items(folder, items, columns) if has_items else _NO_ITEMS}
  # k-core: 5   # leave out users and items with fewer interactions

{_SPLIT if found is not None and found.needs_split else _NO_SPLIT}

embed:
  {_EMBED_TEXT if has_items and columns.texts else _EMBED_BEHAVIOUR}

tokenize: {{}}   # codebook-sizes: 256,256,256 unless the catalog is small

train:
{_train(found)}

evaluate:
  split: test
  exclude-seen: {unseen}   # true where nobody takes an item twice

compare: {{}}

recommend:
  users: 3   # so many are answered at the end
  k: 10
  exclude-seen: {unseen}
"""


_NO_SPLIT = """\
# split:   # without it, each user's last two items are held out: training sees what came later
#   strategy: global-time   # holds out the latest interactions and trains on the past alone
#   validation-share: 0.1   # or moments, as in validation-from: 2024-07-01
#   test-share: 0.1         # and test-from: 2024-10-01"""

_SPLIT = """\
split:   # no user has three interactions, so that each user's last two could be held out
  strategy: global-time   # holds out the latest interactions and trains on the past alone
  validation-share: 0.1   # or moments, as in validation-from: 2024-07-01
  test-share: 0.1         # and test-from: 2024-10-01"""

_NO_ITEMS = "  # items: items.csv   # texts about the items, if you have any"

_EMBED_TEXT = """\
text: true   # what the items' texts say
  # collaborative: true   # and beside it who took what, in the training part"""

_EMBED_BEHAVIOUR = (
    "collaborative: true   # who took what, in the training part, as there are no texts"
)


def _import_of_items(folder: Path, items: Path | None, columns: guessing.Columns) -> str:
    """The part of the import that reads the items' texts."""
    path = "items.csv" if items is None else os.path.relpath(items, folder)
    item_id = columns.items_id.column if columns.items_id else None
    return f"""\
  items: {_plain(path)}
  items-id: {_plain(item_id)}   # the item IDs in that file
  columns: {_plain(columns.texts)}   # its words; the first column is what items are called"""


def _import_of_gaps(found: looks.Found | None) -> str:
    """The part of the import that says what becomes of rows in which something is missing."""
    if found is None:
        return ""
    left_out = ", ".join(f"{number:,} {why}" for why, number in found.left_out.items())
    lines = [f"  {name}: {_plain(value)}" for name, value in looks.options_of(found.gaps).items()]
    if lines:
        lines[-1] += f"   # {left_out}; refuse and keep are the other choices"
    return "".join(f"{line}\n" for line in lines)


def _import_of_events(columns: guessing.Columns, found: looks.Found | None) -> str:
    """The part of the import that reads the types of events."""
    if columns.event.column is None or found is None:
        return ""
    counts = _commented(events.listed_counts(found.events))
    event = f"  event: {_plain(columns.event.column)}   # {counts}\n"
    weights = found.event_weights
    if weights.targets is None:
        return event
    targets = _plain([quoted_name(name) for name in weights.targets])
    others = [f"{name}=0.2" for name in found.events if name and name not in weights.targets]
    some = _plain([quoted_name(name) for name in (*weights.targets, *others)])
    read = f"  # input-events: {_commented(some)}   # read; without it, all types\n"
    if weights.inputs is not None:
        read = (
            f"  input-events: {targets}   # what is read; with all types, "
            f"{found.known_targets:.0%} of the targets would stand in their history\n"
            f"  # input-events: {_commented(some)}\n"
        )
    return (
        f"{event}  target-events: {targets}   # what is predicted; with a weight: type=0.3\n{read}"
        f"  # events: {_commented(targets)}   # keeps these types; the other rows are left out\n"
    )


def _commented(text: str) -> str:
    """A text that fits into a comment: on one line, and not too long."""
    return " ".join(text.split())[:200]


def _train(found: looks.Found | None) -> str:
    """The runs, as large and as long as the interactions allow."""
    size = defaults.Size.of(_UNSEEN_INTERACTIONS if found is None else found.profile.interactions)
    history = defaults.history_length(0.0 if found is None else found.profile.lengths.mean)
    return f"""\
  popularity: {{kind: popularity}}
{_repeats(found)}
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
      tied_item_head: true   # items are scored by the vectors that they are read by
      repeat_bias: true   # how much likelier an item of the history is, as these data show it
      dropout: 0.3
    objective: {{item_weight: 1.0, distillation_weight: 2.0}}
    training:
      epochs: {size.epochs}   # more is better, up to a point, and takes longer
      batch_size: 64
      learning_rate: 0.002
      weight_decay: 0.01
      validate_every: {max(1, size.epochs // 6)}
      # trackers: [tensorboard]   # needs pip install 'sidestep[track]'"""


def _repeats(found: looks.Found | None) -> str:
    """The run that recommends what people have had, where they come back to items."""
    if found is None or found.repeats < _MANY:
        return ""
    share = f"{found.repeats:.1%}"
    what = "interactions take an item again"
    if found.event_weights != events.EventWeights():
        what = "test targets stand in their history"
    why = f"own most frequent items, then popularity: {share} of the {what}"
    return f"  repeats: {{kind: repeats}}   # {why}\n"


def _plain(value: Any) -> str:
    """A value as YAML on one line."""
    return json_format.dumps(value, ensure_ascii=False)
