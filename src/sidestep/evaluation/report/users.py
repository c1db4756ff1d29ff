"""A few users in words: their history, the item that came next, and the lists of each method.

Users are drawn at random, one from each way in which the methods agree or differ. So the page does
not show only users for whom a method did well.
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
"""Gives the titles of items, by index."""

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
    """Shows users whose next item is found by all methods, by one method only, and by none.

    Args:
        runs: one per label, all over the rows of `histories`.
        histories: histories of all rows.
        titles: gives the titles of items.
        num_items: number of items of each list that are shown. A method finds an item if the item
            is among those shown.
        num_past: number of most recent items of the history that are shown.
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
                note=f"This is the case for {len(rows):,} of {len(is_one):,} users "
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
        f"by the first {num_items} items. The item that really came next is marked ✓.",
        parts=parts,
    )


def _is_shown(run: PerUser, num_items: int) -> Bool[np.ndarray, " users"]:
    is_found: np.ndarray = np.any(run.items[:, :num_items] == run.targets[:, None], axis=1)
    return is_found


def _ways(
    is_found: Mapping[str, Bool[np.ndarray, " users"]],
) -> dict[str, Bool[np.ndarray, " users"]]:
    """Users of each way in which the methods agree or differ, by its title."""
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
    """The history, and the item that came next."""
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
    """The list of one method. Its heading names the place of a hit that is not shown."""
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
    """Shortens a title to at most `num_characters` characters, on one line.

    The title is cut between two words if there is a space in the second half. Otherwise it is cut
    within a word: some languages write no spaces, and some titles are one very long word.
    """
    title = " ".join(title.split())
    if len(title) <= num_characters:
        return title
    start = title[: num_characters - 1]
    words = start.rpartition(" ")[0]
    return f"{words} …" if 2 * len(words) >= num_characters else f"{start.rstrip()}…"
