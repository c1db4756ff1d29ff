"""Options of imports about types of events, and how what is typed for them is read."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import typer

from sidestep.cli.options import WITH_COMMAS, split_names
from sidestep.data.events import EventWeights, event_counts, refuse_unknown_types
from sidestep.data.importers.imported import Imported

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


def kept_types(event: str | None, events: Sequence[str] | None) -> tuple[str, ...] | None:
    """The types that --events names; None means all.

    Args:
        event: where the types stand; None where --event was not given.
        events: what was typed for --events.

    Raises:
        ValueError: it names none, or there are none.
    """
    if not events:
        return None
    if event is None:
        raise ValueError("--events needs --event, which says where the types stand.")
    names = tuple(split_names(events))
    if not names:
        raise ValueError("--events names no type of event; name one, or leave the option out.")
    return names


def event_weights(
    event: str | None, targets: Sequence[str] | None, inputs: Sequence[str] | None
) -> EventWeights:
    """The weights that --target-events and --input-events give.

    Args:
        event: where the types stand; None where --event was not given.
        targets: what was typed for --target-events.
        inputs: what was typed for --input-events.

    Raises:
        ValueError: there are no types, a weight is no number from 0 on, a type stands twice, or
            all weights are 0.
    """
    if event is None and (targets or inputs):
        raise ValueError(
            "--target-events and --input-events need --event, which says where the types stand."
        )
    return EventWeights(
        targets=_weights("--target-events", targets) if targets else None,
        inputs=_weights("--input-events", inputs) if inputs else None,
    )


def with_weights(done: Imported, weights: EventWeights) -> Imported:
    """What was imported, with weights of its types of events.

    Raises:
        ValueError: a weight is given to a type that no interaction has; lists the types.
    """
    counts = event_counts(done.dataset.interactions.frame["event"])
    for option, given in (("--target-events", weights.targets), ("--input-events", weights.inputs)):
        refuse_unknown_types([*given] if given else [], counts, option)
    return replace(done, dataset=replace(done.dataset, event_weights=weights))


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
