"""Approach 2 without a parabola: minima of Akima's interpolation of loss in ln n.

Porian et al. 2024, app. B. The interval draws the residuals of the parabolas around the
measured losses, as the noise is drawn there.
"""

from __future__ import annotations

import numpy as np
from scipy.interpolate import Akima1DInterpolator

from analysis.errors import AnalysisError
from analysis.laws.arrays import FloatArray
from analysis.optimal.isoflop import PowerOfCompute, minimum_draws, power_of_compute
from analysis.optimal.parabolas import Parabola, fit_parabolas, pooled_noise
from analysis.tables.table import Table
from analysis.uncertainty.intervals import tail_of
from analysis.uncertainty.units import Bootstrap, units_of

LEAST_SIZES = 5
"""The different sizes that an interpolation needs."""
FINE = 400
"""The points between the smallest and the largest size at which a minimum is sought."""


def akima(table: Table, budget: str | None, bootstrap: Bootstrap) -> PowerOfCompute:
    """N* against C through the minima of interpolated isoFLOP curves.

    Args:
        table: rows with roles n, d, c and loss.
        budget: column of the nominal budget (FLOPs); None groups rows whose C agree.
        bootstrap: of the interval.

    Raises:
        AnalysisError: fewer than two budgets have a minimum.
    """
    parabolas = fit_parabolas(table, budget)
    minima = {p: float(np.exp(_minimum(p))) for p in parabolas if _interpolates(p)}
    inside = [p for p, n_star in minima.items() if np.isfinite(n_star)]
    if len(inside) < 2:
        raise AnalysisError(
            "Akima needs two budgets of five distinct sizes each with a minimum inside"
        )
    draws = minimum_draws(
        table, inside, pooled_noise(parabolas), _minima, bootstrap, around_losses=True
    )
    tail = tail_of(units_of(table, bootstrap.kind), bootstrap.level)
    compute = [p.compute for p in inside]
    return power_of_compute(compute, [minima[p] for p in inside], draws, tail)


def _interpolates(curve: Parabola) -> bool:
    """Whether the rows are enough, and none repeats a size."""
    return LEAST_SIZES <= len(set(curve.n)) == len(curve.n)


def _minimum(curve: Parabola) -> float:
    """The minimum ln N* of the measured losses; NaN at an edge."""
    return float(_interpolated(np.log(curve.n), np.array([curve.loss]))[0])


def _minima(log_n: FloatArray, weights: FloatArray, losses: FloatArray) -> FloatArray:
    """The minima (replicas,) of interpolations through the rows that were drawn."""
    drawn = weights > 0
    minima = np.full(len(losses), np.nan)
    for rows in np.unique(drawn, axis=0):
        if rows.sum() >= LEAST_SIZES:
            alike = (drawn == rows).all(axis=1)
            minima[alike] = _interpolated(log_n[rows], losses[alike][:, rows])
    return minima


def _interpolated(log_n: FloatArray, losses: FloatArray) -> FloatArray:
    """The minima (curves,) of interpolated losses (curves, rows); NaN at an edge."""
    fine = np.linspace(log_n[0], log_n[-1], FINE)
    curve = Akima1DInterpolator(log_n, losses.T)(fine)
    best = curve.argmin(axis=0)
    at_edge = (best == 0) | (best == len(fine) - 1)
    return np.where(at_edge, np.nan, fine[best])
