"""The estimators of compute-optimal scaling side by side, under each convention.

Approach 1: the lower envelope of all training curves (`envelope`). Approach 2: isoFLOP
minima, by a parabola in ln n and by Akima interpolation. Approach 3: the parametric law
(Hoffmann et al. 2022, sec. 3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.interpolate import Akima1DInterpolator

from analysis.errors import AnalysisError
from analysis.fitting.record import Fit
from analysis.optimal.envelope import envelope
from analysis.optimal.isoflop import budgets, isoflop
from analysis.tables.table import Table
from analysis.uncertainty.intervals import fit_with_intervals, percentiles
from analysis.uncertainty.units import BY_ROW, Bootstrap


@dataclass(frozen=True, kw_only=True, slots=True)
class Exponent:
    """The exponent a of N* ∝ C^a by one estimator under one counting convention.

    Attributes:
        approach: the estimator.
        convention: the column that counts parameters.
        value: a.
        interval: of a; NaN where the estimator has none.
        note: what it rests on, or why there is no value.
    """

    approach: str
    convention: str
    value: float
    interval: tuple[float, float]
    note: str

    @property
    def found(self) -> bool:
        """Whether the estimator gave a number."""
        return bool(np.isfinite(self.value))


def side_by_side(
    table: Table,
    *,
    budget: str | None = None,
    conventions: tuple[str, ...] | None = None,
    curves: pd.DataFrame | None = None,
    fits: Mapping[str, Fit] | None = None,
    bootstrap: Bootstrap = BY_ROW,
) -> tuple[Exponent, ...]:
    """Every estimator under every convention; what cannot be had says why.

    Args:
        table: rows with roles n, d, c and loss.
        budget: column of the nominal compute budget, for isoFLOP curves.
        conventions: columns that count parameters; the table's own n when None.
        curves: long rows (run_id, step, flops, value) of the held-out loss, for the
            envelope; None uses the ends of the runs.
        fits: convention -> Chinchilla fit, where it has been made already.
        bootstrap: of the intervals; its kind is that of the parametric law.

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
    estimators: dict[str, Callable[[Table], Exponent]] = {
        "1 envelope": lambda t: _envelope(t, curves, bootstrap),
        "2 isoFLOP, parabola": lambda t: _parabola(t, budget, bootstrap),
        "2 isoFLOP, Akima": lambda t: _akima(t, budget, bootstrap),
        "3 parametric": lambda t: _parametric(t, known, bootstrap),
    }
    rows = []
    for column in conventions or (table.columns["n"],):
        counted = table.with_columns(n=column)
        for name, estimate in estimators.items():
            try:
                rows.append(estimate(counted))
            except AnalysisError as error:
                rows.append(_none(name, column, str(error)))
    if not any(r.found for r in rows):
        reasons = dict.fromkeys(r.note for r in rows)
        raise AnalysisError("no estimator finds an exponent: " + "; ".join(reasons))
    return tuple(rows)


def disagreements(rows: tuple[Exponent, ...]) -> tuple[str, ...]:
    """Pairs of estimators or conventions whose intervals do not overlap.

    Pairs that differ in both are left out: each step between them is named already.
    """
    found = [r for r in rows if r.found and np.all(np.isfinite(r.interval))]
    notes = []
    for i, one in enumerate(found):
        for other in found[i + 1 :]:
            alike = one.convention == other.convention or one.approach == other.approach
            if alike and not overlap(one.interval, other.interval):
                notes.append(
                    f"{_shown(one)} and {_shown(other)} disagree: their intervals do "
                    "not overlap"
                )
    return tuple(notes)


def overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether two intervals share a point."""
    return one[0] <= other[1] and other[0] <= one[1]


def _shown(row: Exponent) -> str:
    low, high = row.interval
    return (
        f"{row.approach} with {row.convention} ({row.value:.3f} "
        f"[{low:.3f}, {high:.3f}])"
    )


def _none(approach: str, convention: str, why: str) -> Exponent:
    nan = float("nan")
    return Exponent(
        approach=approach,
        convention=convention,
        value=nan,
        interval=(nan, nan),
        note=why,
    )


def _envelope(
    table: Table, curves: pd.DataFrame | None, bootstrap: Bootstrap
) -> Exponent:
    found = envelope(table, curves, bootstrap)
    return Exponent(
        approach="1 envelope",
        convention=table.columns["n"],
        value=found.exponent,
        interval=found.interval,
        note=found.note,
    )


def _parametric(
    table: Table, known: Mapping[str, Fit], bootstrap: Bootstrap
) -> Exponent:
    column = table.columns["n"]
    fit = known.get(column) or fit_with_intervals(table, "chinchilla", bootstrap)
    return Exponent(
        approach="3 parametric",
        convention=column,
        value=fit.derived["a"],
        interval=fit.intervals["a"],
        note="; ".join(fit.diagnostics.notes) or f"{len(table)} rows",
    )


def _parabola(table: Table, budget: str | None, bootstrap: Bootstrap) -> Exponent:
    curves = isoflop(
        table,
        budget=budget,
        level=bootstrap.level,
        replicas=bootstrap.replicas,
        seed=bootstrap.seed,
    )
    approach = "2 isoFLOP, parabola"
    if curves.n_star is None:
        return _none(approach, table.columns["n"], "; ".join(curves.notes))
    return Exponent(
        approach=approach,
        convention=table.columns["n"],
        value=curves.n_star.exponent,
        interval=curves.n_star.interval,
        note="; ".join(curves.notes) or f"{curves.n_star.points} minima",
    )


def _akima(table: Table, budget: str | None, bootstrap: Bootstrap) -> Exponent:
    """Minima of an Akima interpolation of loss in ln n (Porian et al. 2024, app. B).

    The interval draws noise of the size of the parabolas' residuals, as there.
    """
    labels = budgets(table, budget)
    n, c, loss = (table.values(k) for k in ("n", "c", "loss"))
    noise = isoflop(table, budget=budget, replicas=2).noise
    rng = np.random.default_rng(bootstrap.seed)
    at, minima, draws = [], [], []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        rows = rows[np.argsort(n[rows])]
        if len(np.unique(n[rows])) < 5 or len(np.unique(n[rows])) < len(rows):
            continue
        lowest = _interpolated_minimum(np.log(n[rows]), loss[rows][None])[0]
        if not np.isfinite(lowest):
            continue
        shape = (min(bootstrap.replicas, 500), len(rows))
        drawn = loss[rows] + np.nan_to_num(noise) * rng.standard_normal(shape)
        at.append(float(np.log(np.median(c[rows]))))
        minima.append(lowest)
        draws.append(_interpolated_minimum(np.log(n[rows]), drawn))
    if len(at) < 2:
        raise AnalysisError(
            "Akima needs two budgets of five distinct sizes each with a minimum inside"
        )
    slopes = _slopes(np.array(at), np.stack(draws, axis=1))
    return Exponent(
        approach="2 isoFLOP, Akima",
        convention=table.columns["n"],
        value=float(_slopes(np.array(at), np.array(minima)[None])[0]),
        interval=_interval(slopes, bootstrap.level),
        note=f"{len(at)} minima",
    )


def _interpolated_minimum(u: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Place of the minimum of each interpolated curve; NaN at an edge."""
    fine = np.linspace(u[0], u[-1], 400)
    curve = Akima1DInterpolator(u, losses.T)(fine)
    best = curve.argmin(axis=0)
    edge = (best == 0) | (best == len(fine) - 1)
    return np.where(edge, np.nan, fine[best])


def _slopes(u: np.ndarray, values: np.ndarray) -> np.ndarray:
    centred = u - u.mean()
    return np.asarray(values @ centred / (centred @ centred))


def _interval(draws: np.ndarray, level: float) -> tuple[float, float]:
    if not np.isfinite(draws).any():
        return float("nan"), float("nan")
    low, high = percentiles(draws, (1 - level) / 2)
    return float(low), float(high)
