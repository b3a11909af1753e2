"""Intervals from draws: percentiles, and how much of the draws to cut off."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import norm, t

from analysis.resampling import WHOLE, Kind, Units

MOST_INSIDE = 0.9  # share of residuals within δ that is as good as least squares
MANY_ROWS = 200


def tail_of(units: Units, kind: Kind, level: float, inside: float = 1.0) -> float:
    """Share of the draws to cut off on either side for a coverage of `level`.

    That of Student's t with as many degrees of freedom as units less strata (expanded
    percentile interval: Hesterberg 2015): the spread is estimated from so few units.
    Two cases keep the percentile interval's (1 - level)/2:

    - The draws of whole units are spread as Student's t already (`wild`), or wide.
    - A Huber loss with few residuals within δ is close to least absolute deviations,
      whose draws are too wide for fewer than about 200 rows (Hall & Martin 1988).

    `tests/benchmarks/coverage.py` measures them all.

    Args:
        units: what is drawn.
        kind: of the bootstrap.
        level: coverage asked for.
        inside: share of the residuals that lie within δ; 1 for least squares.
    """
    tail = (1 - level) / 2
    if kind in WHOLE or inside < MOST_INSIDE:
        return tail
    spare = int(np.sum(units.sizes() - 1))
    return float(norm.cdf(-t.isf(tail, spare)))


def interval_note(rows: int, inside: float) -> str:
    """What a reader must know about the width of the intervals; "" for nothing."""
    if inside >= 0.5 or rows >= MANY_ROWS:
        return ""
    return (
        f"{inside:.0%} of the residuals lie within delta, which makes the loss nearly "
        f"one of absolute deviations: below {MANY_ROWS} rows its intervals err on the "
        "wide side (95 % ones cover 98 to 99 %)"
    )


def percentiles(draws: Any, tail: float) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles `tail` and 1 - `tail` over the first axis, of draws that are not NaN.

    The p-quantile of R draws is the p(R + 1)-th of them (Davison & Hinkley 1997, §5.2):
    interpolating between p(R - 1) instead loses 1 % of coverage at 200 draws.
    """
    draws = np.asarray(draws, np.float64)
    low, high = np.nanquantile(draws, [tail, 1 - tail], axis=0, method="weibull")
    return low, high
