"""Options that ask for a search."""

from typing import Annotated, get_args

import typer

from sidestep.runs.search_names import BUDGET, GUIDANCE, SearchName

SETTINGS_TOLD = (
    "ved: warm_width=8, exploration=0.1, entropy_weight=0.1, value_weight=1, "
    "answer_likelihood_weight=0, root_gate=priority, paths_per_round=1, seed=0, normaliser=legal; "
    "sampling: seed=0, temperature=1, top_k=null, top_p=null, normaliser=legal; "
    "beam: normaliser=legal"
)
"""The settings of each kind of search, with the defaults of the policies, which need torch."""

Search = Annotated[
    str | None,
    typer.Option(
        help=f"How semantic IDs are searched: {', '.join(get_args(SearchName))}; or your own class "
        "as my_package.my_module:MySearch. [default: that of the bundle]",
    ),
]
Candidates = Annotated[
    str | None,
    typer.Option(
        "--candidates",
        metavar="K+[,K+...]",
        help="K+: prefixes per level that item-beam, prm-beam and value-beam choose among, one for "
        "all levels or, but for value-beam, one for each; none,200,200 leaves the first level to "
        "likelihood, after which an item head alone, without a ranker, scores no more of a large "
        "catalog than the items below what is left. "
        f"Default: {GUIDANCE.candidates_per_beam} per beam, or as the process reward model or the "
        "value head was chosen by, or the ranker attached with.",
    ),
]
LikelihoodWeight = Annotated[
    str | None,
    typer.Option(
        metavar="λ[,λ...]",
        help="Weight of log π beside what guides the search, one for all levels or, but for "
        "value-beam, one for each; 0 leaves it out. "
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
        help="Tokens that ved spends: those of a beam K times as wide as --beams; default: "
        f"{BUDGET}.",
    ),
]
SearchOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--search-option",
        metavar="NAME=VALUE",
        help=f"A setting of the search, name=value; may be repeated. {SETTINGS_TOLD}.",
    ),
]
