"""A few users in words: what they had, what came next, and what each method recommended.

Users are drawn at random, one from each way in which the methods agree or differ, so that the page
shows no luckier users than there are.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Int

from sidestep.data.histories import Histories
from sidestep.evaluation.report.examples import Example, WordedList
from sidestep.evaluation.report.page import Section
from sidestep.evaluation.results import PerUser
from sidestep.padding import NO_ITEM

Titles = Callable[[Int[np.ndarray, " items"]], Sequence[str]]
"""What to call items, by index."""

_SEED = 0
_TITLE_CHARACTERS = 90


def users_section(
    runs: Mapping[str, PerUser],
    histories: Histories,
    titles: Titles,
    *,
    num_items: int = 5,
    num_past: int = 6,
) -> Section:
    """Users where all methods find the item that came next, where only one does, and where none.

    Args:
        runs: one per label, all over the rows of `histories`.
        histories: of all rows.
        titles: what to call items.
        num_items: how much of each list to show; a method finds what it shows.
        num_past: how many of the most recent items to show.
    """
    is_found = {label: _is_shown(run, num_items) for label, run in runs.items()}
    generator = np.random.default_rng(_SEED)
    parts = []
    for title, is_one in _ways(is_found).items():
        rows = np.flatnonzero(is_one)
        if len(rows) == 0:
            continue
        row = int(generator.choice(rows))
        parts.append(
            Example(
                title=title,
                note=f"So it is for {len(rows):,} of {len(is_one):,} users "
                f"({len(rows) / len(is_one):.1%}); user {histories.user_ids[row]} was drawn.",
                given=_given(row, runs, histories, titles, num_past),
                lists=tuple(
                    _recommended(label, run, row, titles, num_items) for label, run in runs.items()
                ),
            )
        )
    return Section(
        title="Users in words",
        lead=f"One user drawn at random from each way in which the methods agree or differ, judged "
        f"by the first {num_items} items. What really came next is marked ✓.",
        parts=parts,
    )


def _is_shown(run: PerUser, num_items: int) -> Bool[np.ndarray, " users"]:
    is_found: np.ndarray = np.any(run.items[:, :num_items] == run.targets[:, None], axis=1)
    return is_found


def _ways(
    is_found: Mapping[str, Bool[np.ndarray, " users"]],
) -> dict[str, Bool[np.ndarray, " users"]]:
    """Which users each title is about."""
    num_found = np.sum(list(is_found.values()), axis=0)
    if len(is_found) == 1:
        return {"Found": num_found == 1, "Missed": num_found == 0}
    return {
        "Found by all methods": num_found == len(is_found),
        **{f"Found by {label} alone": own & (num_found == 1) for label, own in is_found.items()},
        "Missed by all methods": num_found == 0,
    }


def _given(
    row: int, runs: Mapping[str, PerUser], histories: Histories, titles: Titles, num_past: int
) -> tuple[WordedList, ...]:
    """The past, and what came next."""
    past = histories.of(row)
    omitted = max(len(past) - num_past, 0)
    target = next(iter(runs.values())).targets[row : row + 1]
    return (
        WordedList(
            heading=f"Past, oldest first{f', {omitted} before these' if omitted else ''}",
            items=_short(titles(past[omitted:])),
        ),
        WordedList(heading="Came next", items=_short(titles(target)), marked=(0,)),
    )


def _recommended(label: str, run: PerUser, row: int, titles: Titles, num_items: int) -> WordedList:
    """What one method recommended; the heading tells of a hit that is not shown."""
    items = run.items[row][run.items[row] != NO_ITEM]
    places = np.flatnonzero(items == run.targets[row]).tolist()
    heading = label
    if not places:
        heading = f"{label}: not in its {len(items)}"
    elif places[0] >= num_items:
        heading = f"{label}: only at place {places[0] + 1}"
    shown = items[:num_items]
    return WordedList(
        heading=heading,
        items=_short(titles(shown)) if len(shown) else (),
        marked=tuple(place for place in places if place < num_items),
        is_ranked=True,
    )


def _short(titles: Sequence[str]) -> tuple[str, ...]:
    return tuple(shortened(title, _TITLE_CHARACTERS) for title in titles)


def shortened(title: str, num_characters: int) -> str:
    """Titles of shops go on and on: at most so many characters, on one line.

    Cut between words where there is a space in the second half, else within the word: some
    languages write none, and some titles are one endless word.
    """
    title = " ".join(title.split())
    if len(title) <= num_characters:
        return title
    start = title[: num_characters - 1]
    words = start.rpartition(" ")[0]
    return f"{words} …" if 2 * len(words) >= num_characters else f"{start.rstrip()}…"
