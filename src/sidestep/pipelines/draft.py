"""The draft of a pipeline: a commented file for a user's tables, after a look at them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidestep.data.categories import recurring_columns
from sidestep.data.events import EventWeights, listed_counts
from sidestep.data.importers.guessing import (
    Columns,
    Guess,
    guess_columns,
    sample_of,
    sample_of_items,
)
from sidestep.data.names import plain_name, quoted_name
from sidestep.files import whole_file
from sidestep.notices import command
from sidestep.pipelines.commands import FindCommand
from sidestep.pipelines.config import CONFIG_FILE, PipelineConfig
from sidestep.pipelines.contents import TableContents, contents_of, options_of
from sidestep.pipelines.pipeline import VECTORS, pipeline_of
from sidestep.runs.defaults import Size, history_length
from sidestep.runs.plain_yaml import parse_yaml
from sidestep.runs.settings import checked

_UNSEEN_INTERACTIONS = 50_000
"""The assumed number of interactions where no table was looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A pipeline that is not written yet.

    file: where the pipeline belongs.
    text: of the file.
    columns: of the tables, with reasons; None where there were no tables to look at.
    contents: of the tables; None where there were none.
    """

    file: Path
    text: str
    columns: Columns | None
    contents: TableContents | None

    def write(self) -> None:
        """Writes the file."""
        with whole_file(self.file) as temporary:
            temporary.write_text(self.text, encoding="utf-8")


def draft_pipeline(
    folder: Path,
    interactions: Path | None = None,
    items: Path | None = None,
    *,
    user: str | None = None,
    item: str | None = None,
    time: str | None = None,
    items_id: str | None = None,
    find: FindCommand,
) -> Draft:
    """Drafts a pipeline that works in a folder, for tables that are looked at.

    The tables are imported at once, so that the pipeline does not refuse them later.

    Args:
        folder: where the pipeline will work; it may be missing.
        interactions: a table with an interaction per row; None drafts a pipeline for tables that
            the user will name later.
        items: a table with an item per row, and its texts; None if there is none.
        user: the column of users in `interactions`; None guesses the column, here and below.
        item: the column of items in `interactions`.
        time: the column of times in `interactions`; "none" takes the rows in their order.
        items_id: the column of item IDs in `items`.
        find: finds the commands that the pipeline is made of.

    Raises:
        FileNotFoundError: a table is not there.
        KeyError: a table has no column of a given name.
        ValueError: the folder holds a pipeline already, a table is not what it should be, a column
            cannot be guessed, or a column of a table is given without the table.
    """
    file = folder / CONFIG_FILE
    if file.exists():
        raise ValueError(f"{file} exists; edit it, or choose another folder.")
    if interactions is None:
        if any(given is not None for given in (items, user, item, time, items_id)):
            raise ValueError("give --interactions FILE as well, or none of the others.")
        text = _text_of(folder, None, None, _unseen(), None)
        return Draft(file=file, text=text, columns=None, contents=None)
    columns = guess_columns(
        sample_of(interactions).frame,
        None if items is None else sample_of_items(items),
        user=user,
        item=item,
        time=time,
        items_id=items_id,
    )
    contents = contents_of(interactions, items, columns)
    text = _text_of(folder, interactions, items, columns, contents)
    # Refuses now whatever 'sidestep run' would refuse.
    config = checked(PipelineConfig, parse_yaml(text, str(file)), str(file))
    pipeline_of(config, file, find=find)
    return Draft(file=file, text=text, columns=columns, contents=contents)


def _unseen() -> Columns:
    """The columns of tables that nobody has looked at."""
    user, item, time = (Guess(column=name, why="") for name in ("user_id", "item_id", "timestamp"))
    return Columns(user=user, item=item, time=time, items_id=item, texts=["title"])


def _text_of(
    folder: Path,
    interactions: Path | None,
    items: Path | None,
    columns: Columns,
    contents: TableContents | None,
) -> str:
    """The text of the configuration. It is written here, because YAML writers know no comments."""
    has_items = items is not None or interactions is None
    about = "nothing was looked at yet: put in the names of your files and columns"
    if contents is not None:
        seen = contents.profile
        about = (
            f"{seen.interactions:,} interactions of {seen.users:,} users with {seen.items:,} items"
        )
    unseen = _plain(contents is None or not contents.has_repeats)
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
{_import_of_gaps(contents)}{_import_of_events(columns, contents)}\
{_import_of_items(folder, items, columns) if has_items else _NO_ITEMS}
  # users: users.csv   # a table of users, whose columns networks may read (model: user_columns)
  # k-core: 5   # leave out users and items with fewer interactions

{_SPLIT if contents is not None and contents.needs_split else _NO_SPLIT}

embed:
  {_EMBED_TEXT if has_items and columns.texts else _EMBED_BEHAVIOUR}

tokenize: {{}}   # codebook-sizes: 256,256,256 unless the catalog is small

train:
{_train(contents)}

attach:
  together: {{run: transformer, ranker: graph}}   # {_TOGETHER}

{_ALIGN}

evaluate:
  split: validation   # choose by validation; set test here once, when all is chosen
  exclude-seen: {unseen}   # true where nobody takes an item twice

compare: {{}}

recommend:
  users: 3   # so many are answered at the end, by the run that validation found best
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

_TOGETHER = "what both know; nothing is trained"

_ALIGN = """\
# align:   # both teach the network, so that it ranks nearly as well without the graph
#   taught: {run: together, recipe: tree}   # takes about as long as the training of the transformer
#   # teachers: [second]   # other runs under train, such as a transformer of another size"""

_GRAPH = "nothing is trained: what followed the last items of a user, and items like them"

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


def _import_of_gaps(contents: TableContents | None) -> str:
    """The part of the import that decides about rows without a user, an item or a time."""
    if contents is None:
        return ""
    left_out = ", ".join(f"{number:,} {why}" for why, number in contents.left_out.items())
    lines = [f"  {name}: {_plain(value)}" for name, value in options_of(contents.gaps).items()]
    if lines:
        lines[-1] += f"   # {left_out}; refuse and keep are the other choices"
    return "".join(f"{line}\n" for line in lines)


def _import_of_events(columns: Columns, contents: TableContents | None) -> str:
    """The part of the import that reads the types of events."""
    if columns.event.column is None or contents is None:
        return ""
    counts = _commented(listed_counts(contents.events))
    event = f"  event: {_plain(columns.event.column)}   # {counts}\n"
    weights = contents.event_weights
    if weights.targets is None:
        return event
    targets = _plain([quoted_name(name) for name in weights.targets])
    others = [f"{name}=0.2" for name in contents.events if name and name not in weights.targets]
    some = _plain([quoted_name(name) for name in (*weights.targets, *others)])
    read = f"  # input-events: {_commented(some)}   # read; without it, all types\n"
    if weights.inputs is not None:
        read = (
            f"  input-events: {targets}   # what is read; with all types, "
            f"{contents.known_targets:.0%} of the targets would stand in their history\n"
            f"  # input-events: {_commented(some)}\n"
        )
    return (
        f"{event}  target-events: {targets}   # what is predicted; with a weight: type=0.3\n{read}"
        f"  # events: {_commented(targets)}   # keeps these types; the other rows are left out\n"
    )


def _commented(text: str) -> str:
    """A text that fits into a comment: on one line, and not too long."""
    return " ".join(text.split())[:200]


def _train(contents: TableContents | None) -> str:
    """The runs, as large and as long as the interactions allow."""
    size = Size.of(_UNSEEN_INTERACTIONS if contents is None else contents.profile.interactions)
    history = history_length(0.0 if contents is None else contents.profile.lengths.mean)
    inputs = _inputs(contents)
    return f"""\
  popularity: {{kind: popularity}}
{_repeats(contents)}\
  graph: {{kind: graph, embeddings: {VECTORS}}}   # {_GRAPH}

  sasrec:   # the baseline to beat
    kind: sasrec
    max_history: {history}
    min_context: 0
    model:
      dim: {size.sasrec_dim}
      max_items: {history}
      dropout: 0.5
{inputs}\
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
{inputs}\
    objective: {{item_weight: 1.0, distillation_weight: 2.0}}
    training:
      epochs: {size.epochs}   # more is better, up to a point, and takes longer
      batch_size: 64
      learning_rate: 0.002
      weight_decay: 0.01
      validate_every: {max(1, size.epochs // 6)}
      # trackers: [tensorboard]   # needs pip install 'sidestep[track]'"""


def _inputs(contents: TableContents | None) -> str:
    """Commented lines, each of which offers a network an input beside the items."""
    if contents is None:
        return "".join(f"      # {line}\n" for line in _INPUTS_UNSEEN)
    lines = []
    if contents.profile.times is not None:
        lines.append("times: true   # reads the gaps between events")
    columns = recurring_columns(contents.dataset.items.frame.drop("item_id"))
    if columns:
        lines.append(f"item_columns: {_plain(columns)}   # values that recur; keep what helps")
    return "".join(f"      # {line}\n" for line in lines)


_INPUTS_UNSEEN = (
    "times: true   # reads the gaps between events, where the interactions have times",
    "item_columns: {brand: null}   # reads a column of the items whose values recur",
    "user_columns: {country: null}   # reads a column of the users, see import",
)


def _repeats(contents: TableContents | None) -> str:
    """The run that recommends own items again, for users who take items again."""
    if contents is None or not contents.has_repeats:
        return ""
    share = f"{contents.repeats:.1%}"
    what = "interactions take an item again"
    if contents.event_weights != EventWeights():
        what = "test targets stand in their history"
    why = f"own most frequent items, then popularity: {share} of the {what}"
    return f"  repeats: {{kind: repeats}}   # {why}\n"


def _plain(value: Any) -> str:
    """A value as YAML on one line."""
    return json.dumps(value, ensure_ascii=False)
