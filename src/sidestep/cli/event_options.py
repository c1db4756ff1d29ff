"""Options of imports about types of events, and the weights that are read from them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import typer

from sidestep.cli.options import WITH_COMMAS
from sidestep.data.events import (
    EventWeights,
    event_counts,
    refuse_unknown_types,
)
from sidestep.data.importers.imported import Imported
from sidestep.data.importers.log import Thinning
from sidestep.data.names import split_names

Events = Annotated[
    list[str] | None,
    typer.Option(
        "--events",
        help=f"Types of events to keep, {WITH_COMMAS}; the other interactions are left out.",
    ),
]
TargetEvents = Annotated[
    list[str] | None,
    typer.Option(
        "--target-events",
        help="Types of events that are predicted, with the weights of their losses: "
        "purchase=1,cart=0.3. [default: all types, with weight 1]",
    ),
]
InputEvents = Annotated[
    list[str] | None,
    typer.Option(
        "--input-events",
        help="Types of events that recommenders read, with the weights of their items: "
        "purchase,cart,view=0.2. [default: all types, with weight 1]",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedEvents:
    """The types of events that the options of an import ask for.

    types: the types that stay; None keeps all.
    weights: of the types that stay.
    """

    types: tuple[str, ...] | None
    weights: EventWeights

    @classmethod
    def of_options(
        cls,
        event: str | None,
        events: Sequence[str] | None,
        targets: Sequence[str] | None,
        inputs: Sequence[str] | None,
    ) -> "AskedEvents":
        """Reads the options.

        Args:
            event: where the types stand; None where --event was not given.
            events: for --events.
            targets: for --target-events.
            inputs: for --input-events.

        Raises:
            ValueError: there are no types, a weight is no number from 0 on, a type stands twice, or
                all weights are 0.
        """
        if event is None and (events or targets or inputs):
            raise ValueError(
                "--events, --target-events and --input-events need --event, which says where the "
                "types stand."
            )
        types = tuple(split_names(events)) if events else None
        if types == ():
            raise ValueError("--events names no type of event; name one, or leave the option out.")
        weights = EventWeights(
            targets=_weights("--target-events", targets) if targets else None,
            inputs=_weights("--input-events", inputs) if inputs else None,
        )
        return cls(types=types, weights=weights)

    def kept(self, thinning: Thinning) -> Thinning:
        """A thinning that keeps these types alone. With weights, types differ: no duplicates."""
        return replace(thinning, events=self.types, by_type=self.weights != EventWeights())

    def weighted(self, done: Imported) -> Imported:
        """The import, with weights of its types.

        Raises:
            ValueError: a weight is given to a type that no interaction has; lists the types.
        """
        counts = event_counts(done.dataset.interactions.frame["event"])
        parts = (("--target-events", self.weights.targets), ("--input-events", self.weights.inputs))
        for option, given in parts:
            refuse_unknown_types([*given] if given else [], counts, option)
        return replace(done, dataset=replace(done.dataset, event_weights=self.weights))


def _weights(option: str, values: Sequence[str]) -> dict[str, float]:
    weights: dict[str, float] = {}
    for part in split_names(values):
        before, is_weighted, number = part.rpartition("=")
        name = before.strip() if is_weighted else part
        if name in weights:
            raise ValueError(f"{option} names the type {name!r:.60} twice; give it one weight.")
        try:
            weights[name] = float(number) if is_weighted else 1.0
        except ValueError as error:
            raise ValueError(
                f"{option}: {part!r:.60}: {number!r:.60} is no number; write a type with its "
                "weight as in cart=0.3, or the type alone for the weight 1."
            ) from error
    return weights
