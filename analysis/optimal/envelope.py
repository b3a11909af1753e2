"""Approach 1: the lower envelope of all training curves, and the sizes on it.

For each compute budget the run with the least loss on the way counts, whatever its
length (Hoffmann et al. 2022, sec. 3.1). All points of the envelope must be alike: a run
that has cooled down beats any run that has not. Under warm-up–constant–cooldown only
points before the cooldown are used; under other schedules all points but the last are
taken before their rate has decayed, so their losses are too high (ibid., app. B).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.laws.arrays import FloatArray
from analysis.tables.columns import COOLDOWN, FLOPS, RUN, SCHEDULE, STEP, STEPS, VALUE
from analysis.tables.table import Table
from analysis.uncertainty.draws import bootstrap_draws
from analysis.uncertainty.intervals import interval, tail_of
from analysis.uncertainty.units import Bootstrap, units_of

BUDGETS = 120
"""The number of budgets on the geometric grid of compute."""
LEAST_SIZES = 3
"""The different sizes that an envelope must pass through."""
CONSTANT_RATE = "wsd"
"""The schedule whose rate is constant between its warm-up and its cooldown."""


class Envelope(NamedTuple):
    """The envelope and its power law N* ∝ C^exponent.

    Attributes:
        compute, n, loss: points of the envelope whose size has rivals on both sides
            (FLOPs, parameters, nats).
        exponent, interval: of N* against C.
        note: what it rests on.
    """

    compute: np.ndarray
    n: np.ndarray
    loss: np.ndarray
    exponent: float
    interval: tuple[float, float]
    note: str


def envelope(
    table: Table, curves: pd.DataFrame | None, bootstrap: Bootstrap
) -> Envelope:
    """The envelope of the training curves, or of the rows where there are none.

    Args:
        table: the runs, with roles n, c, loss and, for curves, run.
        curves: long rows (run_id, step, flops, value) of the held-out loss, or None:
            each row is then a curve of one point.
        bootstrap: of the interval; an envelope has no residuals, so that whole units
            are drawn, however few.

    Raises:
        AnalysisError: it passes through fewer than three sizes with rivals, or the
            table does not know the units of the bootstrap.
    """
    if curves is None or not table.has("run"):
        grid, losses = _ends(table)
        note = "ends of runs only"
    else:
        points, note = usable_points(table, curves)
        grid, losses = _interpolated(table, points)
    n = table.values("n")
    winners = _winners(n, losses)
    sizes = len(np.unique(n[winners.run]))
    if sizes < LEAST_SIZES:
        raise AnalysisError(
            f"the envelope passes through {sizes} sizes that have rivals on both "
            f"sides, {LEAST_SIZES} are needed ({note})"
        )
    compute = grid[winners.budget]
    return Envelope(
        compute=compute,
        n=n[winners.run],
        loss=losses[winners.run, winners.budget],
        exponent=_slope(n, np.log(grid), winners),
        interval=_interval(table, np.log(grid), losses, bootstrap),
        note=f"{note}; {len(compute)} budgets, {sizes} sizes",
    )


def usable_points(table: Table, curves: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The points that may be compared, and a note that says which they are."""
    points = curves[curves[RUN].isin(table.values("run")) & (curves[FLOPS] > 0)]
    if {SCHEDULE, COOLDOWN, STEPS} <= set(table.frame.columns):
        runs = table.frame.set_index(table.columns["run"])
        if (runs[SCHEDULE] == CONSTANT_RATE).all():
            share = 1 - runs[COOLDOWN].astype(np.float64)
            last = points[RUN].map(share * runs[STEPS])
            points = points[points[STEP] <= last]
            note = "training curves before their cooldown (losses not annealed)"
            return points, note
    return points, "training curves; losses before a run's end are not annealed"


def _ends(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """The bins of compute (budgets,) and the rows' losses there (rows, budgets)."""
    c, loss = table.values("c"), table.values("loss")
    edges = np.geomspace(c.min(), c.max() * (1 + 1e-9), BUDGETS // 3 + 1)
    index = np.digitize(c, edges) - 1
    losses = np.full((len(c), len(edges) - 1), np.inf)
    losses[np.arange(len(c)), index] = loss
    return np.sqrt(edges[:-1] * edges[1:]), losses


def _interpolated(table: Table, points: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The budgets and each run's loss there (runs, budgets); inf outside its curve."""
    if points.empty:
        raise AnalysisError("no training curve has a point before its cooldown")
    low, high = points[FLOPS].min(), points[FLOPS].max()
    grid = np.geomspace(low, high, BUDGETS)
    losses = np.full((len(table), len(grid)), np.inf)
    curves = dict(list(points.sort_values(FLOPS).groupby(RUN)))
    for i, run in enumerate(table.values("run")):
        if run in curves:
            u, v = (np.log(curves[run][k].to_numpy()) for k in (FLOPS, VALUE))
            at = np.interp(np.log(grid), u, v, left=np.inf, right=np.inf)
            losses[i] = np.exp(at)
    return grid, losses


class _Winners(NamedTuple):
    """The run that is best at each budget of the envelope, and the budget."""

    run: np.ndarray
    budget: np.ndarray


def _winners(n: np.ndarray, losses: np.ndarray) -> _Winners:
    """The best run at each budget, where more compute lowered the loss.

    The smallest and the largest size that reach a budget win there for want of rivals:
    they are left out.
    """
    best = losses.argmin(axis=0)
    least = losses.min(axis=0)
    use = np.isfinite(least) & (least <= np.minimum.accumulate(least))
    reach = np.isfinite(losses)
    smallest = np.where(reach, n[:, None], np.inf).min(axis=0)
    largest = np.where(reach, n[:, None], -np.inf).max(axis=0)
    use &= (n[best] > smallest) & (n[best] < largest)
    return _Winners(best[use], np.flatnonzero(use))


def _slope(n: np.ndarray, log_grid: np.ndarray, winners: _Winners) -> float:
    """The slope of ln N* against ln C along the envelope."""
    return float(np.polyfit(log_grid[winners.budget], np.log(n[winners.run]), 1)[0])


def _interval(
    table: Table, log_grid: np.ndarray, losses: np.ndarray, bootstrap: Bootstrap
) -> tuple[float, float]:
    """The percentile interval of the exponent over draws of the curves."""
    n, units = table.values("n"), units_of(table, bootstrap.kind)

    def estimate(weights: FloatArray, _: FloatArray) -> FloatArray:
        slopes = np.full(len(weights), np.nan)
        for i, drawn in enumerate(weights > 0):
            winners = _winners(n, np.where(drawn[:, None], losses, np.inf))
            if len(np.unique(n[winners.run])) >= LEAST_SIZES:
                slopes[i] = _slope(n, log_grid, winners)
        return slopes

    draws = bootstrap_draws(estimate, table.values("loss"), units, bootstrap)
    return interval(draws, tail_of(units, bootstrap.level))
