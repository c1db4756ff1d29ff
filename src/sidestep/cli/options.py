"""Options that many commands have."""

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Check inputs and options, say what would be done; do nothing."),
]

WITH_COMMAS = "comma-separated as in CSV, or one by one in several options"
"""How an option takes names, for its help; see `data.names.split_names`."""
