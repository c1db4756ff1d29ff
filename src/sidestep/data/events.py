"""Events: types of interactions, and the weight of each type as a target and as an input.

A shop's log holds views, carts and purchases. A recommender of purchases should predict only
purchases, but may read views too.
"""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

_PURCHASE = re.compile(
    r"purchas|(?<![a-z])(buy|order|sale|sold|paid)|bought|transaction|checkout|payment"
    r"|kauf|bestell|achat|commande|compra"
)
_NO_PURCHASE = re.compile(r"cart|basket|wish|cancel|refund|return|remove|fail|wagen|korb|panier")
"""Words in the name of a type of event that show that it is no purchase, although another word of
the name means a purchase."""

NO_TYPE = ""
"""The type of an interaction whose source names no type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventWeights:
    """Weights of the types of events, as targets and as inputs.

    targets: weight by type. Only these types are held out, predicted and counted as popularity.
        The loss of each target is multiplied by its weight. None: every interaction is a target
        of weight 1.
    inputs: weight by type. Only these types are in the histories that a recommender reads. The
        vector of each item is multiplied by its weight. None: every interaction is read with
        weight 1.

    A type of weight 0 counts like a type that is not named.

    Raises:
        ValueError: on construction, if a weight is negative or not finite, or if all are 0.
    """

    targets: Mapping[str, int | float] | None = None
    inputs: Mapping[str, int | float] | None = None

    def __post_init__(self) -> None:
        """Refuses weights that are invalid, or that leave no target or no input."""
        for what, weights in (("target", self.targets), ("input", self.inputs)):
            if weights is None:
                continue
            for name, weight in weights.items():
                if not (math.isfinite(weight) and weight >= 0):
                    raise ValueError(
                        f"the weight of {what} event {name!r} is {weight}; a weight is a number "
                        "from 0 on."
                    )
            if not any(weights.values()):
                raise ValueError(
                    f"no type of event has a weight above 0 as {what}; name at least one type."
                )

    @property
    def target_types(self) -> tuple[str, ...] | None:
        """The types that are predicted; None means all."""
        return None if self.targets is None else _counted(self.targets)

    def of_targets(self, events: pl.Series) -> pl.Series | None:
        """The weight of each interaction as a target; None if all weigh 1.

        Args:
            events: the type of each interaction, null where unknown.
        """
        return _by_interaction(self.targets, events)

    def of_inputs(self, events: pl.Series) -> pl.Series | None:
        """The weight of each interaction as an input; see `of_targets`."""
        return _by_interaction(self.inputs, events)

    def description(self) -> dict[str, dict[str, float]]:
        """The weights as JSON; empty if every interaction has weight 1."""
        parts = {"targets": self.targets, "inputs": self.inputs}
        return {
            name: {kind: float(weights[kind]) for kind in sorted(weights)}
            for name, weights in parts.items()
            if weights is not None
        }

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> "EventWeights":
        """Makes the weights again from their `description`."""
        return cls(targets=description.get("targets"), inputs=description.get("inputs"))


def event_counts(events: pl.Series) -> dict[str, int]:
    """Number of interactions of each type, the most frequent first; ties in the order of names.

    Args:
        events: the type of each interaction; null is counted as `NO_TYPE`.
    """
    counts = events.fill_null(NO_TYPE).value_counts(name="number")
    ordered = counts.sort(["number", events.name], descending=[True, False])
    return {str(name): int(number) for name, number in ordered.iter_rows()}


def listed_counts(counts: Mapping[str, int]) -> str:
    """Lists types with their numbers, for messages."""
    names = [f"{name or '(no type)'} {number:,}" for name, number in counts.items()]
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def listed_weights(weights: Mapping[str, int | float]) -> str:
    """Lists types with their weights, for messages."""
    return ", ".join(f"{name or '(no type)'} {weight:g}" for name, weight in weights.items())


def likely_targets(counts: Mapping[str, int]) -> list[str]:
    """Guesses the types of events that a shop wants to predict: those named like a purchase.

    If no type is named like a purchase, the guess is the least frequent type: of views, carts and
    the steps after them, the last step is the rarest.

    Args:
        counts: see `event_counts`.
    """
    names = [name for name in counts if name != NO_TYPE]
    bought = [
        name
        for name in names
        if _PURCHASE.search(name.lower()) and not _NO_PURCHASE.search(name.lower())
    ]
    return bought or names[-1:]


def doubt_about_types(counts: Mapping[str, int]) -> str | None:
    """Warns that several types of events have equal weight; None if there is only one type.

    Args:
        counts: see `event_counts`.
    """
    if len(counts) < 2:
        return None
    targets = likely_targets(counts)
    others = [name for name in counts if name not in (*targets, NO_TYPE)]
    read = ",".join([*targets, *(f"{name}=0.2" for name in others)])
    return (
        f"The interactions are of {len(counts)} types: {listed_counts(counts)}. All types count "
        "alike, so the next item may be of any type. To keep some types alone: --events "
        f"{','.join(targets)}. To predict some types and read others beside them: --target-events "
        f"{','.join(targets)} --input-events {read}."
    )


def refuse_unknown_types(asked: Collection[str], counts: Mapping[str, int], option: str) -> None:
    """Raises a `ValueError` if no interaction has a type of event that is asked for.

    Args:
        asked: the types that are asked for.
        counts: see `event_counts`.
        option: the option that names the types, for the error.
    """
    if not any(counts) and asked:
        raise ValueError(
            f"{option}: no interaction has a type of event; name the column that says what "
            "happened with --event."
        )
    for name in asked:
        if name not in counts:
            raise ValueError(
                f"{option}: no interaction is of the type {name!r:.60}; there are "
                f"{listed_counts(counts)}."
            )


def _by_interaction(
    weights: Mapping[str, int | float] | None, events: pl.Series
) -> pl.Series | None:
    if weights is None:
        return None
    given = {name: float(weight) for name, weight in weights.items()}
    found = events.fill_null(NO_TYPE).replace_strict(given, default=0.0, return_dtype=pl.Float64)
    return None if (found == 1).all() else found


def _counted(weights: Mapping[str, int | float]) -> tuple[str, ...]:
    return tuple(name for name, weight in weights.items() if weight > 0)
