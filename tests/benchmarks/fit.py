"""How fast and how good fits are, beside scipy on the same 240 rows.

    make bench-fit      # every part, into tests/benchmarks/results/fit-*.txt
    python -m tests.benchmarks.fit speed|vision|suggest

Run it on a quiet machine. scipy's bootstraps are timed on a part of the replicas and
scaled up; each refit starts at the published constants of Hoffmann et al. 2022. Ratios
come from one run.

Beside optimistix 0.1.0 (22 November 2026, 2 AMD EPYC cores, a busy machine, jax 0.10.2,
vmapped, compiled): 512 bootstrap refits of the 240 rows took 0.15 s here, 3.1 s by its
BFGS and 8.2 s by its Levenberg-Marquardt, with equal optima; from 512 spread starts
each of them, its Dogleg and ours reached the optimum from all. So it is no dependency.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from analysis.fitting.options import HOFFMANN, FitOptions, Objective, Search
from analysis.fitting.problem import prepare
from analysis.fitting.search import find_optimum, minimise
from analysis.laws import get_law
from analysis.published.base import get_reproduction
from analysis.published.chinchilla import (
    HOFFMANN_CONSTANTS,
    bootstrap_constants,
    published_weights,
    runs,
)
from analysis.selection.suggest import suggest
from analysis.selection.target import Target
from analysis.tables.table import Table, table_from_frame
from analysis.uncertainty.draws import resampled_weights
from analysis.uncertainty.intervals import fit_with_intervals
from analysis.uncertainty.predictions import optimum_at
from analysis.uncertainty.units import Bootstrap
from tests.benchmarks.machine import machine

DELTA = 1e-3
FIVE_LAWS = ("chinchilla", "tied", "kaplan", "overtrained", "additive:n,d")


def timed(function: Callable[[], object]) -> float:
    """Seconds of the second call: the first one compiles."""
    function()
    return once(function)


def once(function: Callable[[], object]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def scipy_objective(
    theta: np.ndarray, n: np.ndarray, d: np.ndarray, y: np.ndarray, w: np.ndarray
) -> tuple[float, np.ndarray]:
    """Huber loss of ln L and its gradient in (ln A, ln B, ln E, alpha, beta)."""
    a, b, e, alpha, beta = theta
    parts = np.stack([a - alpha * np.log(n), b - beta * np.log(d), np.full_like(n, e)])
    top = parts.max(axis=0)
    shares = np.exp(parts - top)
    total = shares.sum(axis=0)
    shares /= total
    r = top + np.log(total) - y
    slope = w * np.clip(r, -DELTA, DELTA)
    inside = np.abs(r) <= DELTA
    value = np.where(inside, r * r / 2, DELTA * (np.abs(r) - DELTA / 2)) @ w
    s1, s2, s3 = shares
    rows = np.stack([s1, s2, s3, -s1 * np.log(n), -s2 * np.log(d)])
    return float(value), rows @ slope


def scipy_refits(weights: np.ndarray, analytic: bool) -> float:
    """Seconds of BFGS refits, one per row of `weights`."""
    table = runs()
    n, d, y = table.values("n"), table.values("d"), np.log(table.values("loss"))
    c = HOFFMANN_CONSTANTS
    start = [*np.log([c["A"], c["B"], c["E"]]), c["alpha"], c["beta"]]

    def run() -> None:
        for w in weights:
            if analytic:
                minimize(scipy_objective, start, (n, d, y, w), "BFGS", jac=True)
            else:
                minimize(lambda t, *a: scipy_objective(t, *a)[0], start, (n, d, y, w),
                         "BFGS")  # fmt: skip

    return once(run)


def fits() -> None:
    """Global fit, 4000 bootstraps beside scipy, 10,000 bootstraps of five laws."""
    table = runs()
    problem = prepare(table, "chinchilla", HOFFMANN)
    cold = once(lambda: find_optimum(problem))
    warm = timed(lambda: find_optimum(problem))
    print(
        f"certified global fit, 64 starts: {warm:.2f} s ({cold:.1f} s with compiling)"
    )
    share = find_optimum(problem, Search(starts=500)).share_at_best
    print(f"share of 500 starts at the best objective: {share:.1%}")
    ours = timed(lambda: bootstrap_constants(4000))
    print(f"4000 bootstrap refits with the global fit: {ours:.2f} s")
    weights = published_weights(200)
    analytic = scipy_refits(weights, True) * 4000 / 200
    numerical = scipy_refits(weights[:40], False) * 4000 / 40
    print(
        f"scipy BFGS, analytic gradient: {analytic:.0f} s, {analytic / ours:.0f} times"
    )
    print(f"scipy BFGS, differences: {numerical:.0f} s, {numerical / ours:.0f} times")
    for one in get_reproduction("besiroglu2024-se").run().checks[:5]:
        print(f"  {one.quantity}: published {one.expected:g}, {one.obtained:.5g}")
    seconds = {name: many(table, name) for name in FIVE_LAWS}
    for name, each in seconds.items():
        print(f"10,000 bootstraps of {name}: {each:.1f} s with compiling")
    print(f"all five: {sum(seconds.values()):.0f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory {peak:.2f} GiB")


def many(table: Table, law: str, replicas: int = 10_000) -> float:
    """Seconds of a fit and its bootstrap, compilation included."""

    def run() -> None:
        problem = prepare(table, get_law(law), HOFFMANN)
        best = find_optimum(problem)
        rows = np.arange(problem.rows)
        drawn = resampled_weights(rows, replicas, np.random.default_rng(0))
        starts = np.tile(best.theta, (replicas, 1))
        minimise(problem.with_weights(drawn), starts, near=True)

    return once(run)


def vision() -> None:
    """72 learning curves: median extrapolation errors, and the time of all laws."""
    started = time.perf_counter()
    checks = get_reproduction("alabdulmohsin2022").run().checks[1:]
    spent = time.perf_counter() - started
    for one in checks:
        print(f"{one.quantity}: {one.obtained:.4f} (reference {one.expected:.3f})")
    print(f"{spent:.0f} s with compiling, 72 curves")


def suggestions(simulations: int = 200, noise: float = 0.005) -> None:
    """Width of the interval for the loss at ten times the largest budget.

    The extra compute equals that of the first grid. It is spent as suggested, on the
    same regular grid again, and on one more isoFLOP curve at a higher budget.
    """
    options = FitOptions(objective=Objective(delta=2 * noise))
    compute = np.geomspace(1e18, 1e20, 5)
    ratios, spent = [], []
    for seed in range(simulations):
        rng = np.random.default_rng(seed)
        base = measure(*isoflop_grid(compute), noise, rng)
        budget = float(base["c"].sum())
        target = Target(kind="loss", compute=10 * compute[-1])
        found = suggest(as_table(base), budget=budget, target=target, options=options)
        spent.append(found.spent / budget)
        chosen = np.array([(r.n, r.d) for r in found.runs]).T
        extras = [
            measure(*chosen, noise, rng),
            measure(*isoflop_grid(compute), noise, rng),
            measure(*isoflop_grid(np.array([budget / 5])), noise, rng),
        ]
        widths = [width(pd.concat([base, x]), target, options) for x in extras]
        ratios.append((widths[0] / widths[1], widths[0] / widths[2]))
    again, higher = np.mean(ratios, axis=0)
    print(
        f"{simulations} simulations; suggested runs spend {np.mean(spent):.0%} of the"
    )
    print(f"extra compute; interval {1 - again:.1%} narrower than the grid again,")
    print(f"{1 - higher:.1%} narrower than one isoFLOP curve at a higher budget")


def isoflop_grid(compute: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Five sizes per budget, a factor ten wide around D = 20 N."""
    n = np.concatenate([np.sqrt(c / 120) * np.geomspace(0.3, 3, 5) for c in compute])
    return n, np.repeat(compute, 5) / (6 * n)


def measure(
    n: np.ndarray, d: np.ndarray, noise: float, rng: np.random.Generator
) -> pd.DataFrame:
    """Losses of Hoffmann's law with log-normal noise."""
    loss = 1.69 + 406.4 * n**-0.34 + 410.7 * d**-0.28
    loss = loss * np.exp(noise * rng.standard_normal(len(n)))
    return pd.DataFrame({"n": n, "d": d, "c": 6 * n * d, "loss": loss})


def as_table(frame: pd.DataFrame) -> Table:
    """The frame with its roles."""
    return table_from_frame(frame, n="n", d="d", c="c", loss="loss")


def width(frame: pd.DataFrame, target: Target, options: FitOptions) -> float:
    """Width of the bootstrap interval of the loss at the target (nats)."""
    fit = fit_with_intervals(
        as_table(frame), "chinchilla", Bootstrap(replicas=300), options
    )
    band = optimum_at(fit, target.compute)["loss"]
    return float(band.high - band.low)


PARTS = {"speed": fits, "vision": vision, "suggest": suggestions}

if __name__ == "__main__":
    print(machine())
    PARTS[sys.argv[1]]()
