"""Words for the profile of a dataset: the rows of its table, and doubts about evaluations on it."""

from sidestep.data.clock import moment, unit_of
from sidestep.data.events import listed_counts, listed_weights
from sidestep.data.global_time import strategy_in_words
from sidestep.data.histories import Histories
from sidestep.evaluation.data_profile import Profile

_MANY_TIES = 0.05
"""Share of tied test targets from which a sentence says so."""


def profile_rows(measured: Profile, histories: Histories) -> list[list[str]]:
    """The profile in words, as rows of a table; what is not known is left out.

    Args:
        measured: the profile.
        histories: of the dataset.
    """
    lengths, leak = measured.lengths, measured.leave_one_out_leak
    rows = [
        ["users", f"{measured.users:,}"],
        ["items", f"{measured.items:,}"],
        ["interactions", f"{measured.interactions:,}"],
        ["density", f"{measured.density:.4%}"],
        ["interactions per user, mean", f"{lengths.mean:.2f}"],
        ["interactions per user, median", f"{lengths.median:g}"],
        ["interactions per user, most", f"{lengths.max:,}"],
        ["items never interacted with", f"{measured.untouched_items:,}"],
        ["repeated interactions", f"{measured.repeat_share:.1%}"],
        *_event_rows(measured),
        ["Gini of item popularity", f"{measured.popularity_gini:.3f}"],
    ]
    if measured.times is not None:
        assert histories.timestamps is not None
        unit = unit_of(histories.timestamps)
        first, last = (
            f"{at:,}" if unit is None else moment(at, unit).date().isoformat()
            for at in (measured.times.first, measured.times.last)
        )
        rows += [
            ["time", f"{first} – {last}"],
            ["interactions at equal times of a user", f"{measured.times.equal_share:.1%}"],
        ]
        if measured.times.tied_target_share is not None:
            tied = f"{measured.times.tied_target_share:.1%}; the rows of the dataset decide"
            rows.append(["test targets at the time of the item before", tied])
    rows += [
        [f"text {name}", f"{text.item_share:.1%} of items, {text.mean_words:.1f} words on average"]
        for name, text in measured.texts.items()
    ]
    rows += [
        ["split", strategy_in_words(measured.strategy)],
        ["evaluated users", f"{measured.evaluated_users:,}"],
        ["validation rows", f"{measured.validation_rows:,}"],
        ["test rows", f"{measured.test_rows:,}"],
    ]
    if measured.repeat_target_share is not None:
        rows.append(["test targets that repeat an item", f"{measured.repeat_target_share:.1%}"])
    if measured.order is not None:
        order = f"{measured.order.in_order:.4f}, and {measured.order.shuffled:.4f} if shuffled"
        rows.append(["HR@10 of direct transitions", order])
    if leak is not None:
        rows.append(
            [
                "time leak of leave-one-out",
                f"{leak.rows:.1%} of test rows, {leak.interactions:.1%} of training after them",
            ]
        )
    return rows


def _event_rows(measured: Profile) -> list[list[str]]:
    """The types of events and their weights, where there are some."""
    rows = [["types of events", listed_counts(measured.events)]] if measured.events else []
    for name, what in (("targets", "target events"), ("inputs", "input events")):
        if name in measured.event_weights:
            rows.append([what, listed_weights(measured.event_weights[name])])
    return rows


def doubts(measured: Profile) -> list[str]:
    """Sentences about what makes evaluations on a dataset say little; empty if nothing does."""
    said = []
    order, times = measured.order, measured.times
    if order is not None and order.is_weak:
        said.append(
            f"the order of items carries little here: direct transitions have HR@10 "
            f"{order.in_order:.4f}, and {order.shuffled:.4f} after the histories were shuffled "
            f"({order.num_rows:,} validation rows). So these data can hardly tell which "
            "recommender uses the order."
        )
    tied = None if times is None else times.tied_target_share
    if tied is not None and tied >= _MANY_TIES:
        said.append(
            f"{tied:.1%} of the test targets have the time of the item before them, so the order "
            "of the rows decides which of the two is the target. The import keeps the order of the "
            "file, or with --ties item takes the order of item IDs; results of the two differ, so "
            "say which one you took."
        )
    return said
