"""Approach 1: the sizes on the lower envelope of all training curves.

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
from analysis.tables.table import Table
from analysis.uncertainty.intervals import percentiles
from analysis.uncertainty.units import Bootstrap, trunk_labels

BUDGETS = 120  # geometric grid of compute
REPLICAS = 500  # draws of curves at most
LEAST_SIZES = 3


class Envelope(NamedTuple):
    """The envelope and its power law N* ∝ C^exponent.

    Attributes:
        compute, n, loss: points of the envelope whose size has rivals on both sides
            (FLOPs, parameters, nats).
        exponent, interval: of N* against C; the interval draws whole trunks, or runs.
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
        bootstrap: of the interval.

    Raises:
        AnalysisError: it passes through fewer than three sizes with rivals.
    """
    if curves is None or not table.has("run"):
        grid, losses = _ends(table)
        note = "ends of runs only"
    else:
        points, note = usable_points(table, curves)
        grid, losses = _interpolated(table, points)
    n = table.values("n")
    found = _winners(n, losses)
    sizes = len(np.unique(n[found.run]))
    if sizes < LEAST_SIZES:
        raise AnalysisError(
            f"the envelope passes through {sizes} sizes that have rivals on both "
            f"sides, {LEAST_SIZES} are needed ({note})"
        )
    compute = grid[found.budget]
    return Envelope(
        compute=compute,
        n=n[found.run],
        loss=losses[found.run, found.budget],
        exponent=float(np.polyfit(np.log(compute), np.log(n[found.run]), 1)[0]),
        interval=_interval(table, np.log(grid), losses, bootstrap),
        note=f"{note}; {len(compute)} budgets, {sizes} sizes",
    )


def usable_points(table: Table, curves: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The points that may be compared, and a note that says which they are."""
    points = curves[curves["run_id"].isin(table.values("run")) & (curves["flops"] > 0)]
    spec = ("optim.schedule", "optim.cooldown", "steps")
    if set(spec) <= set(table.frame.columns):
        runs = table.frame.set_index(table.columns["run"])
        if (runs["optim.schedule"] == "wsd").all():
            share = 1 - runs["optim.cooldown"].astype(np.float64)
            last = points["run_id"].map(share * runs["steps"])
            points = points[points["step"] <= last]
            note = "training curves before their cooldown (losses not annealed)"
            return points, note
    return points, "training curves; losses before a run's end are not annealed"


def _ends(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Bins of compute (budgets,) and the rows' losses there (rows, budgets)."""
    c, loss = table.values("c"), table.values("loss")
    edges = np.geomspace(c.min(), c.max() * (1 + 1e-9), BUDGETS // 3 + 1)
    index = np.digitize(c, edges) - 1
    losses = np.full((len(c), len(edges) - 1), np.inf)
    losses[np.arange(len(c)), index] = loss
    return np.sqrt(edges[:-1] * edges[1:]), losses


def _interpolated(table: Table, points: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Budgets and each run's loss there (runs, budgets); inf outside its curve."""
    if points.empty:
        raise AnalysisError("no training curve has a point before its cooldown")
    low, high = points["flops"].min(), points["flops"].max()
    grid = np.geomspace(low, high, BUDGETS)
    losses = np.full((len(table), len(grid)), np.inf)
    curves = dict(list(points.sort_values("flops").groupby("run_id")))
    for i, run in enumerate(table.values("run")):
        if run in curves:
            u, v = (np.log(curves[run][k].to_numpy()) for k in ("flops", "value"))
            at = np.interp(np.log(grid), u, v, left=np.inf, right=np.inf)
            losses[i] = np.exp(at)
    return grid, losses


class _Points(NamedTuple):
    run: np.ndarray
    budget: np.ndarray


def _winners(n: np.ndarray, losses: np.ndarray) -> _Points:
    """The best run at each budget, where more compute lowered the loss.

    The extreme sizes win for want of rivals: they are left out.
    """
    best = losses.argmin(axis=0)
    least = losses.min(axis=0)
    use = np.isfinite(least) & (least <= np.minimum.accumulate(least))
    use &= (n[best] > n.min()) & (n[best] < n.max())
    return _Points(best[use], np.flatnonzero(use))


def _interval(
    table: Table, log_grid: np.ndarray, losses: np.ndarray, bootstrap: Bootstrap
) -> tuple[float, float]:
    """Percentile interval of the exponent over draws of whole trunks (or runs)."""
    n, trunks = table.values("n"), trunk_labels(table)
    units = np.arange(len(table)) if trunks is None else trunks
    names = np.unique(units)
    rng = np.random.default_rng(bootstrap.seed)
    draws = []
    for _ in range(min(bootstrap.replicas, REPLICAS)):
        drawn = np.isin(units, rng.choice(names, len(names)))
        found = _winners(n, np.where(drawn[:, None], losses, np.inf))
        if len(np.unique(n[found.run])) >= LEAST_SIZES:
            u, v = log_grid[found.budget], np.log(n[found.run])
            draws.append(np.polyfit(u, v, 1)[0])
    if len(draws) < 2:
        return float("nan"), float("nan")
    low, high = percentiles(draws, (1 - bootstrap.level) / 2)
    return float(low), float(high)
