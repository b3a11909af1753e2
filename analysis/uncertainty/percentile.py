"""Intervals from draws: percentiles, and how much of the draws to cut off."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import norm, t

from analysis.uncertainty.units import Kind, Units


def tail_of(units: Units, kind: Kind, level: float, *, squares: bool = True) -> float:
    """Share of the draws to cut off on either side for a coverage of `level`.

    For seeds under least squares that of Student's t with as many degrees of freedom as
    seeds less configurations (expanded percentile interval: Hesterberg 2015), as the
    spread is estimated from so few. Under a robust loss their draws are rather too wide
    than too narrow (Hall & Martin 1988), and draws of residuals are spread as Student's
    t already (`wild`): (1 - level)/2. `tests/benchmarks/coverage.py` measures them all.

    Args:
        units: what is drawn.
        kind: of the bootstrap.
        level: coverage asked for.
        squares: the objective is as good as least squares (`Objective.near_squares`).
    """
    tail = (1 - level) / 2
    if kind != "seed" or not squares:
        return tail
    spare = int(np.sum(units.sizes() - 1))
    return float(norm.cdf(-t.isf(tail, spare)))


def percentiles(draws: Any, tail: float) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles `tail` and 1 - `tail` over the first axis, of draws that are not NaN.

    The p-quantile of R draws is the p(R + 1)-th of them (Davison & Hinkley 1997, §5.2):
    interpolating between p(R - 1) instead loses 1 % of coverage at 200 draws.
    """
    draws = np.asarray(draws, np.float64)
    low, high = np.nanquantile(draws, [tail, 1 - tail], axis=0, method="weibull")
    return low, high
