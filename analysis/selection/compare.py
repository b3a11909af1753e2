"""The ranking of laws by how well they predict runs beyond a compute cutoff."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from analysis.errors import AnalysisError
from analysis.fitting.options import DEFAULT, FitOptions
from analysis.fitting.record import Fit
from analysis.laws.base import Law
from analysis.laws.registry import all_laws, get_law
from analysis.selection.extrapolation import HoldOut, cutoffs, extrapolate
from analysis.tables.plain import JsonObject, to_json
from analysis.tables.table import Table
from analysis.uncertainty.intervals import fit_with_intervals
from analysis.uncertainty.units import BY_ROW, Bootstrap


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking:
    """The place of one law among those that were compared.

    Attributes:
        law: its name.
        fit: to all rows; None when they do not allow it.
        held_out: errors beyond each cutoff, the same cutoffs for every law.
        error: root mean square of ln(predicted / observed) over all cutoffs' rows.
        why_not: why there is no fit or error, "" when there is.
    """

    law: str
    fit: Fit | None
    held_out: tuple[HoldOut, ...]
    error: float
    why_not: str

    def to_json(self) -> JsonObject:
        """The ranking as plain JSON; an unknown error is null."""
        plain: JsonObject = to_json(asdict(self))
        return plain


def suitable_laws(table: Table) -> tuple[Law, ...]:
    """The registered laws whose columns the table has (c serves as x)."""

    def fits(law: Law) -> bool:
        return all(table.has(k) or (k == "x" and table.has("c")) for k in law.columns)

    joint = table.has("n") and table.has("d")
    # A law in one variable says nothing about rows that differ in two.
    return tuple(
        x for x in all_laws() if fits(x) and not (joint and x.columns == ("x",))
    )


@np.errstate(all="ignore")
def compare(
    table: Table,
    laws: tuple[str, ...] = (),
    *,
    bootstrap: Bootstrap = BY_ROW,
    options: FitOptions = DEFAULT,
) -> tuple[Ranking, ...]:
    """The ranking of the laws by prediction error above compute cutoffs, best first.

    Args:
        table: rows with a role c.
        laws: names; every suitable law when empty.
        bootstrap: of the constants' intervals.
        options: as for `fit_law`.

    Returns:
        Best first; laws without an error last.

    Raises:
        AnalysisError: no law suits the table's columns, or none can be fitted below a
            cutoff and judged above it.
    """
    chosen = tuple(get_law(x) for x in laws) or suitable_laws(table)
    if not chosen:
        raise AnalysisError(
            "no law suits the columns of this table; name n and d, or x"
        )
    largest = max(chosen, key=lambda law: len(law.parameters))
    at = cutoffs(table, largest)
    rankings = [_rank(table, x, at, bootstrap, options) for x in chosen]
    if not any(r.held_out for r in rankings):
        raise AnalysisError(f"no law can be ranked: {rankings[0].why_not}")
    return tuple(sorted(rankings, key=lambda r: (np.isnan(r.error), r.error)))


def _rank(
    table: Table,
    law: Law,
    at: tuple[float, ...],
    bootstrap: Bootstrap,
    options: FitOptions,
) -> Ranking:
    """The ranking of one law by its errors beyond the cutoffs `at`."""
    fitted: Fit | None = None
    held_out: tuple[HoldOut, ...] = ()
    why = ""
    try:
        fitted = fit_with_intervals(table, law, bootstrap, options)
        held_out = extrapolate(table, law, at=at or None, options=options)
    except AnalysisError as error:
        why = str(error)
    squares = sum(h.rows_predicted * h.rms_log_error**2 for h in held_out)
    rows = sum(h.rows_predicted for h in held_out)
    return Ranking(
        law=law.name,
        fit=fitted,
        held_out=held_out,
        error=float(np.sqrt(squares / rows)) if rows else float("nan"),
        why_not=why,
    )
