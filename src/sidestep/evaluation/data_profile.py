"""The profile of a dataset: the numbers of a paper's table, and numbers of its difficulty."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Int

from sidestep.data.dataset import Dataset
from sidestep.data.events import event_counts
from sidestep.data.histories import Histories
from sidestep.data.items import ItemTable
from sidestep.data.splits import Rows, Split, leave_one_out
from sidestep.data.time_leak import TimeLeak, time_leak
from sidestep.evaluation.order_signal import OrderSignal, order_signal
from sidestep.metrics.distribution import gini


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Interactions per user."""

    mean: float
    median: float
    max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Times of the interactions, in the unit of their source.

    equal_share: share of the interactions whose timestamp equals that of another interaction of
        the same user, so that time does not tell which came first.
    tied_target_share: share of the test rows whose target has the time of the last item of its
        history, so that time does not tell which of the two is the target; None without test rows.
    """

    first: int
    last: int
    equal_share: float
    tied_target_share: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TextCoverage:
    """Coverage of one text column.

    item_share: share of the items that have a text in the column.
    mean_words: mean number of words, separated by blanks, over the items that have a text; 0 if
        none has.
    """

    item_share: float
    mean_words: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A dataset in numbers.

    density: interactions divided by users times items.
    untouched_items: number of items without an interaction.
    repeat_share: share of the interactions with an item that their user had met before.
    repeat_target_share: share of the test rows whose target is in the history; None if there is no
        test row. If the share is high, lists without seen items miss many targets.
    events: number of interactions of each type of event; empty if no type is known.
    event_weights: weights of the types, as targets and as inputs; empty if all weigh 1.
    popularity_gini: Gini coefficient of the interactions per item, over all items.
    times: None if no times are known.
    texts: coverage of each text column, by its name.
    strategy: strategy of the split.
    evaluated_users: number of users with at least one validation or test row.
    validation_rows, test_rows: number of rows of each part.
    order: signal in the order of items; None without validation rows.
    leave_one_out_leak: time leak of leave-one-out, the usual split, whatever split is used; None if
        no times are known.
    """

    users: int
    items: int
    interactions: int
    density: float
    lengths: Lengths
    untouched_items: int
    repeat_share: float
    repeat_target_share: float | None
    events: Mapping[str, int]
    event_weights: Mapping[str, Mapping[str, float]]
    popularity_gini: float
    times: Times | None
    texts: Mapping[str, TextCoverage]
    strategy: str
    evaluated_users: int
    validation_rows: int
    test_rows: int
    order: OrderSignal | None
    leave_one_out_leak: TimeLeak | None


def profile(dataset: Dataset, split: Split) -> Profile:
    """Measures a dataset.

    Args:
        dataset: the dataset to measure.
        split: the split of the dataset that is used.
    """
    histories = dataset.histories()
    counts = item_counts(histories, len(dataset.items))
    counts_by_type = event_counts(dataset.interactions.frame["event"])
    num_cells = len(histories) * len(dataset.items)
    lengths = histories.lengths
    return Profile(
        users=len(histories),
        items=len(dataset.items),
        interactions=len(histories.items),
        density=len(histories.items) / num_cells if num_cells else 0.0,
        lengths=Lengths(
            mean=float(lengths.mean()) if len(lengths) else 0.0,
            median=float(np.median(lengths)) if len(lengths) else 0.0,
            max=int(lengths.max(initial=0)),
        ),
        untouched_items=int((counts == 0).sum()),
        repeat_share=repeat_share(histories),
        repeat_target_share=repeat_target_share(split.test),
        events=counts_by_type if any(counts_by_type) else {},
        event_weights=dataset.event_weights.description(),
        popularity_gini=gini(counts),
        times=_times(histories, split.test),
        texts=text_coverage(dataset.items),
        strategy=split.strategy,
        evaluated_users=len({*split.validation.histories.user_ids, *split.test.histories.user_ids}),
        validation_rows=len(split.validation),
        test_rows=len(split.test),
        order=order_signal(split, len(dataset.items)),
        leave_one_out_leak=time_leak(leave_one_out(histories)),
    )


def item_counts(histories: Histories, num_items: int) -> Int[np.ndarray, " items"]:
    """Interactions per item."""
    return np.bincount(histories.items, minlength=num_items).astype(np.int64)


def repeat_share(histories: Histories) -> float:
    """Share of the interactions with an item that their user had met before."""
    num = len(histories.items)
    if not num:
        return 0.0
    users = np.repeat(np.arange(len(histories)), histories.lengths)
    pairs = pl.DataFrame({"user": users, "item": histories.items})
    return 1 - pairs.n_unique() / num


def repeat_target_share(rows: Rows) -> float | None:
    """Share of rows whose target is in their history; None without rows."""
    return float(rows.is_repeat.mean()) if len(rows) else None


def text_coverage(items: ItemTable) -> dict[str, TextCoverage]:
    """Coverage of each text column, by its name."""
    coverage = {}
    for name in items.text_columns:
        words = items.frame[name].fill_null("").str.count_matches(r"\S+")
        said = words.filter(words > 0)
        mean = said.mean()
        coverage[name] = TextCoverage(
            item_share=len(said) / len(items) if len(items) else 0.0,
            mean_words=float(mean) if isinstance(mean, int | float) else 0.0,
        )
    return coverage


def _times(histories: Histories, test: Rows) -> Times | None:
    times = histories.timestamps
    if times is None or not len(times):
        return None
    # The timestamps of a user never decrease, so equal ones are neighbours.
    users = np.repeat(np.arange(len(histories)), histories.lengths)
    is_as_before = (times[1:] == times[:-1]) & (users[1:] == users[:-1])
    is_equal = np.append(is_as_before, False) | np.append(False, is_as_before)
    return Times(
        first=int(times.min()),
        last=int(times.max()),
        equal_share=float(is_equal.mean()),
        tied_target_share=_tied_target_share(test),
    )


def _tied_target_share(rows: Rows) -> float | None:
    """See `Times.tied_target_share`; None also where the times of the rows are not known."""
    times = rows.histories.timestamps
    if not len(rows) or rows.times is None or times is None:
        return None
    has_history = rows.histories.lengths > 0
    last = times[rows.histories.offsets[1:][has_history] - 1]
    return float((last == rows.times[has_history]).sum() / len(rows))
