"""Options that many commands have."""

from typing import Annotated, Literal

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Check inputs and options, say what would be done; do nothing."),
]

Engine = Literal["local", "ray"]
"""What does the work: this process, or Ray on one machine or on a cluster."""

RayAddress = Annotated[
    str | None,
    typer.Option(help="A Ray cluster, such as auto. [default: Ray on this machine alone]"),
]

WITH_COMMAS = "comma-separated as in CSV, or one by one in several options"
"""How an option takes names, for its help; see `data.names.split_names`."""
