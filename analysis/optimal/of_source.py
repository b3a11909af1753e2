"""The exponents of a results folder, or of anybody's table, by every estimator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from analysis.optimal.side_by_side import Exponent, side_by_side
from analysis.tables.columns import BUDGET_COLUMN, CONVENTIONS, HELD_OUT, LOSS
from analysis.tables.curves import read_metrics
from analysis.tables.table import Table
from analysis.uncertainty.units import Bootstrap


def exponents_of(
    source: Path,
    rows: Table,
    bootstrap: Bootstrap,
    *,
    budget: str | None = None,
    conventions: Sequence[str] = (),
) -> tuple[tuple[Exponent, ...], tuple[str, ...]]:
    """The exponents of N* against C, and a sentence for each damaged file.

    Args:
        source: the results folder, or the table's file; a folder has curves and counts
            of its own.
        rows: its rows, with roles n, d, c and loss.
        bootstrap: of all intervals.
        budget: column of the nominal compute budget; a sweep's own by default.
        conventions: columns that count parameters; those of a folder when empty.

    Raises:
        AnalysisError: a column is missing or does not vary, or no estimator works.
    """
    if budget is None and BUDGET_COLUMN in rows.frame.columns:
        budget = BUDGET_COLUMN
    known = [k for k in CONVENTIONS if source.is_dir() and k in rows.frame.columns]
    curves, damaged = None, tuple[str, ...]()
    if source.is_dir() and (source / "metrics").is_dir():
        read = read_metrics(source, LOSS, HELD_OUT)
        curves, damaged = read.rows, tuple(read.damaged)
    exponents = side_by_side(
        rows,
        budget=budget,
        conventions=tuple(conventions or known) or None,
        curves=curves,
        bootstrap=bootstrap,
    )
    return exponents, damaged
