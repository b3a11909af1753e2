"""The estimators of compute-optimal scaling side by side, under each convention.

Approach 1: the lower envelope of all training curves (`envelope`). Approach 2: isoFLOP
minima, by a parabola in ln n (`isoflop`) and by interpolation (`akima`). Approach 3:
the parametric law (Hoffmann et al. 2022, sec. 3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.fitting.record import Fit
from analysis.optimal.akima import akima
from analysis.optimal.envelope import envelope
from analysis.optimal.isoflop import isoflop
from analysis.tables.table import Table
from analysis.uncertainty.intervals import fit_with_intervals
from analysis.uncertainty.units import BY_ROW, Bootstrap

ENVELOPE = "1 envelope"
PARABOLA = "2 isoFLOP, parabola"
AKIMA = "2 isoFLOP, Akima"
PARAMETRIC = "3 parametric"


@dataclass(frozen=True, kw_only=True, slots=True)
class Exponent:
    """The exponent a of N* ∝ C^a by one estimator under one counting convention.

    Attributes:
        approach: the estimator.
        convention: the column that counts parameters.
        value: a; NaN where the estimator gives none.
        interval: of a; NaN where the estimator has none.
        note: what it rests on, or why there is no value.
    """

    approach: str
    convention: str
    value: float
    interval: tuple[float, float]
    note: str

    @property
    def known(self) -> bool:
        """Whether the estimator gave a number."""
        return bool(np.isfinite(self.value))


class _Estimate(NamedTuple):
    """The part of an `Exponent` that an estimator gives."""

    value: float
    interval: tuple[float, float]
    note: str


@np.errstate(all="ignore")
def side_by_side(
    table: Table,
    *,
    budget: str | None = None,
    conventions: tuple[str, ...] | None = None,
    curves: pd.DataFrame | None = None,
    fits: Mapping[str, Fit] | None = None,
    bootstrap: Bootstrap = BY_ROW,
) -> tuple[Exponent, ...]:
    """The exponents by every estimator under every convention, or why there is none.

    Args:
        table: rows with roles n, d, c and loss.
        budget: column of the nominal compute budget, for isoFLOP curves.
        conventions: columns that count parameters; the table's own n when None.
        curves: long rows (run_id, step, flops, value) of the held-out loss, for the
            envelope; None uses the ends of the runs.
        fits: convention -> Chinchilla fit, where it has been made already.
        bootstrap: of all intervals.

    Raises:
        AnalysisError: a column is missing or does not vary, or no estimator works.
    """
    for role in ("n", "d", "c", "loss"):
        values = table.values(role)
        if np.ptp(values) <= 1e-9 * values[0]:
            raise AnalysisError(
                f"column {table.columns[role]!r} ({role}) is {values[0]:g} in all "
                f"{len(values)} rows: an exponent of N* needs runs in which it varies"
            )
    known = fits or {}
    estimators: dict[str, Callable[[Table], _Estimate]] = {
        ENVELOPE: lambda t: _by_envelope(t, curves, bootstrap),
        PARABOLA: lambda t: _by_parabola(t, budget, bootstrap),
        AKIMA: lambda t: _by_akima(t, budget, bootstrap),
        PARAMETRIC: lambda t: _by_law(t, known, bootstrap),
    }
    rows = []
    for convention in conventions or (table.columns["n"],):
        counted = table.with_columns(n=convention)
        for approach, estimate in estimators.items():
            value, interval, note = _tried(estimate, counted)
            rows.append(
                Exponent(
                    approach=approach,
                    convention=convention,
                    value=value,
                    interval=interval,
                    note=note,
                )
            )
    if not any(r.known for r in rows):
        reasons = dict.fromkeys(r.note for r in rows)
        raise AnalysisError("no estimator finds an exponent: " + "; ".join(reasons))
    return tuple(rows)


def disagreements(rows: tuple[Exponent, ...]) -> tuple[str, ...]:
    """A sentence for each two estimators or conventions whose intervals do not overlap.

    Pairs that differ in both are left out: each step between them is named already.
    """
    bounded = [r for r in rows if r.known and np.all(np.isfinite(r.interval))]
    notes = []
    for i, first in enumerate(bounded):
        for second in bounded[i + 1 :]:
            alike = first.convention == second.convention
            alike = alike or first.approach == second.approach
            if alike and not overlap(first.interval, second.interval):
                notes.append(
                    f"{_shown(first)} and {_shown(second)} disagree: their intervals "
                    "do not overlap"
                )
    return tuple(notes)


def overlap(first: tuple[float, float], second: tuple[float, float]) -> bool:
    """Whether two intervals share a point."""
    return first[0] <= second[1] and second[0] <= first[1]


def _shown(row: Exponent) -> str:
    low, high = row.interval
    return (
        f"{row.approach} with {row.convention} ({row.value:.3f} "
        f"[{low:.3f}, {high:.3f}])"
    )


def _tried(estimate: Callable[[Table], _Estimate], table: Table) -> _Estimate:
    """The estimate, or NaN with the reason why there is none."""
    try:
        return estimate(table)
    except AnalysisError as error:
        nan = float("nan")
        return _Estimate(nan, (nan, nan), str(error))


def _by_envelope(
    table: Table, curves: pd.DataFrame | None, bootstrap: Bootstrap
) -> _Estimate:
    lowest = envelope(table, curves, bootstrap)
    return _Estimate(lowest.exponent, lowest.interval, lowest.note)


def _by_parabola(table: Table, budget: str | None, bootstrap: Bootstrap) -> _Estimate:
    curves = isoflop(table, budget=budget, bootstrap=bootstrap)
    notes = "; ".join(curves.notes)
    if curves.n_star is None:
        raise AnalysisError(notes)
    n_star = curves.n_star
    return _Estimate(
        n_star.exponent, n_star.interval, notes or f"{n_star.points} minima"
    )


def _by_akima(table: Table, budget: str | None, bootstrap: Bootstrap) -> _Estimate:
    n_star = akima(table, budget, bootstrap)
    return _Estimate(n_star.exponent, n_star.interval, f"{n_star.points} minima")


def _by_law(table: Table, known: Mapping[str, Fit], bootstrap: Bootstrap) -> _Estimate:
    fit = known.get(table.columns["n"])
    fit = fit or fit_with_intervals(table, "chinchilla", bootstrap)
    note = "; ".join(fit.diagnostics.notes) or f"{len(table)} rows"
    return _Estimate(fit.derived["a"], fit.intervals["a"], note)
