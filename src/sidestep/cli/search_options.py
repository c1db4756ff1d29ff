"""Options that ask for a search."""

from typing import Annotated

import typer

from sidestep.precision import Precision
from sidestep.runs.search_text import enumerated, options_in_words
from sidestep.runs.searches import BUDGET, GUIDANCE
from sidestep.search.specs import SPECS, reading

_ONE_FOR_ALL = enumerated(
    [
        spec.name
        for spec in SPECS.values()
        if not spec.per_level and "likelihood_weight" in spec.reads
    ]
)
"""The searches whose candidates and λ are the same at all levels."""


def settings_told() -> str:
    """The options of searches with their defaults; searches of the same options in one line."""
    told: dict[str, list[str]] = {}
    for spec in SPECS.values():
        words = options_in_words(spec.options)
        told.setdefault(words.replace(",", ", "), []).append(spec.name)
    return "; ".join(f"{enumerated(names)}: {words}" for words, names in told.items() if words)


Search = Annotated[
    str | None,
    typer.Option(
        help=f"How semantic IDs are searched: {', '.join(SPECS)}; or your own class "
        "as my_package.my_module:MySearch. [default: that of the bundle]",
    ),
]
Beams = Annotated[
    int | None, typer.Option(min=1, help="Prefixes kept per level. [default: 50, at least k]")
]
Candidates = Annotated[
    str | None,
    typer.Option(
        "--candidates",
        metavar="K+[,K+...]",
        help=f"K+: prefixes per level that {enumerated(reading('candidates'))} choose among, one "
        f"for all levels or, but for {_ONE_FOR_ALL}, one for each; none,200,200 leaves the first "
        "level to likelihood. An item head alone, without a ranker, then scores no more of a "
        "large catalog than the items below what is left. "
        f"Default: {GUIDANCE.candidates_per_beam} per beam, or as the process reward model or the "
        "value head was chosen by, or the ranker attached with.",
    ),
]
LikelihoodWeight = Annotated[
    str | None,
    typer.Option(
        metavar="λ[,λ...]",
        help="Weight of log π beside what guides the search, one for all levels or, but for "
        f"{_ONE_FOR_ALL}, one for each; 0 leaves it out. "
        f"Default: {GUIDANCE.likelihood_weight:g}, or as the process reward model "
        "or the value head was chosen by (its guidance.likelihood_weight), or the ranker attached "
        "with.",
    ),
]
BudgetTimes = Annotated[
    int | None,
    typer.Option(
        "--budget",
        min=1,
        metavar="K",
        help=f"Tokens that {enumerated(reading('budget'))} spends: those of a beam K times as wide "
        f"as --beams; default: {BUDGET}.",
    ),
]
SearchPrecision = Annotated[
    Precision,
    typer.Option(
        "--precision",
        help="Precision of the layers of a network that writes semantic IDs. bf16 is faster on "
        "a GPU.",
    ),
]
SearchOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--search-option",
        metavar="NAME=VALUE",
        help=f"A setting of the search, name=value; may be repeated. {settings_told()}.",
    ),
]
