"""P5 text: `sequential_data.txt`, with a user and its items per line, and `item_terms.json`."""

from pathlib import Path

from sidestep.data.dataset import Dataset
from sidestep.data.importers.sequences import Sequences, dataset_from
from sidestep.data.importers.sources import read_text


def import_p5(
    sequences_path: Path, items_path: Path | None = None, *, name: str | None = None
) -> Dataset:
    """Imports a dataset in P5's form.

    Args:
        sequences_path: one line per user: the number of the user and the numbers of the items,
            oldest first, separated by white space. Blank lines are skipped.
        items_path: a JSON object: item -> fields or terms; None if the items have no texts.
        name: name of the dataset; None takes that of the folder.

    Raises:
        ValueError: if a file is invalid; the message names the file and the line.
    """
    line_of: dict[str, int] = {}
    item_ids = []
    for line, text in enumerate(read_text(sequences_path).split("\n"), start=1):
        user_id, *items = text.split() or [""]
        if not user_id:
            continue
        for word in (user_id, *items):
            if not (word.isascii() and word.isdecimal()):
                raise ValueError(
                    f"{sequences_path}, line {line}: {word!r:.60} is not a whole number; P5 "
                    "numbers its users and items. Import tables with IDs of text by column names."
                )
        if user_id in line_of:
            raise ValueError(
                f"{sequences_path}, line {line}: user {user_id:.60} stands already in line "
                f"{line_of[user_id]}; join the two lines."
            )
        if not items:
            raise ValueError(
                f"{sequences_path}, line {line}: user {user_id:.60} has no items; remove the "
                "line, or get the file again if it is cut off there."
            )
        line_of[user_id] = line
        item_ids.append(items)
    sequences = Sequences(
        path=sequences_path,
        user_ids=list(line_of),
        item_ids=item_ids,
        place=lambda user_id: f"{sequences_path}, line {line_of[user_id]}",
    )
    return dataset_from(sequences, items_path, name or sequences_path.absolute().parent.name)
