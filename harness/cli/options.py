"""Options that the commands of the analysis half share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from analysis.errors import AnalysisError

Column = Annotated[
    str | None, typer.Option(help="Column, or expression over columns, of this role.")
]
TableFile = Annotated[
    Path, typer.Argument(help="Results folder, or CSV, JSONL or parquet file.")
]
Where = Annotated[
    str | None, typer.Option(help="Keep these rows, e.g. 'loss < 3.5 and n > 1e6'.")
]
Duplicates = Annotated[
    Literal["error", "keep", "drop"],
    typer.Option(help="What to do with equal rows: error, keep or drop."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def roles_of(pairs: list[str]) -> dict[str, str]:
    """ROLE=COLUMN pairs as a dict. Raises `AnalysisError` for anything else."""
    roles = {}
    for pair in pairs:
        role, equals, column = pair.partition("=")
        if not equals:
            raise AnalysisError(f"--column {pair!r} is not of the form ROLE=COLUMN")
        roles[role.strip()] = column.strip()
    return roles
