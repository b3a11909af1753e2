"""The certainty of a fit: percentile intervals of its constants.

What is drawn, and which kind to use when, is in `units`; how it is drawn, in `draws`.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from analysis.fitting import lanes
from analysis.fitting.fit import derived_values, fit_parts
from analysis.fitting.options import DEFAULT, THOROUGH, FitOptions, Search
from analysis.fitting.problem import Problem
from analysis.fitting.record import Fit
from analysis.fitting.search import Optimum, constants_of_each, minimise
from analysis.laws.arrays import FloatArray
from analysis.laws.base import Law
from analysis.tables.table import Table
from analysis.uncertainty.beyond import roll_out
from analysis.uncertainty.draws import redrawn
from analysis.uncertainty.influence import influence
from analysis.uncertainty.units import BY_ROW, Bootstrap, Units, units_of

NOT_KNOWN = (math.nan, math.nan)
"""The interval of what the rows do not determine."""
MOST_WEIGHTS = 20_000_000
"""Replicas times rows that are drawn at a time."""


def refit(
    problem: Problem, starts: FloatArray, replicas: int, search: Search = THOROUGH
) -> lanes.Solution:
    """The best optimum of every replica among those from each start.

    Every replica starts at each distinct local optimum of the full fit, so that a
    replica whose global optimum lies in another basin still finds it.

    Args:
        problem: weights or losses are (replicas, rows).
        starts: (basins, p), solver coordinates.
        replicas: number of problems in one.
        search: tolerance.
    """
    basins = len(starts)

    def repeat(a: FloatArray) -> FloatArray:
        return np.repeat(a, basins, axis=0) if a.ndim == 2 else a

    repeated = replace(problem, y=repeat(problem.y), weights=repeat(problem.weights))
    solution = minimise(repeated, np.tile(starts, (replicas, 1)), search, near=True)
    best = solution.objective.reshape(replicas, basins).argmin(1)
    pick = np.arange(replicas) * basins + best
    return solution.take(pick)


def draw_constants(
    problem: Problem,
    optimum: Optimum,
    units: Units,
    bootstrap: Bootstrap,
    search: Search = THOROUGH,
) -> dict[str, FloatArray]:
    """Constants of every replica: name -> (replicas,), natural units.

    Args:
        problem: of the full fit.
        optimum: its best point and the other local optima.
        units: what is drawn.
        bootstrap: number and seed of the replicas.
        search: tolerance of the refits.
    """
    theta = [
        refit(
            redrawn(problem, optimum.theta, units, part),
            optimum.local,
            part.replicas,
            search,
        ).theta
        for part in _in_parts(bootstrap, problem.rows)
    ]
    return constants_of_each(problem.law, np.concatenate(theta))


def _in_parts(bootstrap: Bootstrap, rows: int) -> list[Bootstrap]:
    """The bootstrap, as several of fewer draws where its weights would be many."""
    each = max(1, MOST_WEIGHTS // rows)
    if each >= bootstrap.replicas:
        return [bootstrap]
    seeds = np.random.SeedSequence(bootstrap.seed).generate_state(
        -(-bootstrap.replicas // each)
    )
    counts = [each] * (bootstrap.replicas // each)
    counts += [rest] if (rest := bootstrap.replicas % each) else []
    return [
        replace(bootstrap, replicas=count, seed=int(seed))
        for count, seed in zip(counts, seeds, strict=True)
    ]


@np.errstate(all="ignore")  # a draw that is not finite is no draw
def fit_with_intervals(
    table: Table,
    law: Law | str = "chinchilla",
    bootstrap: Bootstrap = BY_ROW,
    options: FitOptions = DEFAULT,
) -> Fit:
    """The fit of a law with bootstrap intervals on its constants and derived values.

    Args:
        table: rows and the columns of the law's roles.
        law: a registered name or a `Law`.
        bootstrap: what is drawn, how often, and the level.
        options: objective and search.

    Raises:
        AnalysisError: the table cannot be fitted, or has no column for the kind of
            unit that is to be drawn.
    """
    fitted, problem, optimum = fit_parts(table, law, options)
    units = units_of(table, bootstrap.kind, problem.columns)
    residuals = np.asarray(fitted.residuals)
    squares = options.objective.near_squares(residuals)
    tail = tail_of(units, bootstrap.level, squares=squares)
    draws: dict[str, FloatArray] = {}
    # A law that meets every row leaves nothing that could tell of an error.
    if problem.rows > len(problem.law.parameters):
        draws = draw_constants(problem, optimum, units, bootstrap, options.search)
    every = draws | (derived_values(problem.law, draws) if draws else {})
    record = {
        "kind": units.kind,
        "units": units.count,
        "tail": tail,
        "drawn": "residuals" if units.by_residuals else "units",
        "level": bootstrap.level,
        "replicas": bootstrap.replicas if draws else 0,
        "seed": bootstrap.seed,
    }
    k = fitted.provenance.flops_per_nd
    beyond = roll_out(problem, optimum.theta, options.search, k)
    provenance = replace(
        fitted.provenance, bootstrap=record, beyond=asdict(beyond) if beyond else {}
    )
    unknown = dict.fromkeys(fitted.constants | fitted.derived, NOT_KNOWN)
    intervals = unknown | {k: interval(v, tail) for k, v in every.items()}
    few = influence(table, problem, optimum.theta, intervals, options.search)
    return replace(
        fitted,
        diagnostics=fitted.diagnostics.noted("influential", few),
        intervals=intervals,
        provenance=provenance,
        replicas={k: tuple(float(f"{x:.8g}") for x in v) for k, v in draws.items()},
    )


def tail_of(units: Units, level: float, *, squares: bool = True) -> float:
    """The share of the draws to cut off on either side for a coverage of `level`.

    For seeds under least squares that of Student's t with as many degrees of freedom as
    seeds less configurations (expanded percentile interval: Hesterberg 2015), as the
    spread is estimated from so few. Under a robust loss their draws are rather too wide
    than too narrow (Hall & Martin 1988), and draws of residuals are spread as Student's
    t already (`wild`): (1 - level)/2. `tests/benchmarks/coverage.py` measures them all.

    Args:
        units: what is drawn.
        level: coverage asked for.
        squares: the objective is as good as least squares (`Objective.near_squares`).
    """
    tail = (1 - level) / 2
    if units.kind != "seed" or not squares:
        return tail
    spare = int(np.sum(units.sizes() - 1))
    return float(special.ndtr(special.stdtrit(spare, tail)))


def percentiles(draws: ArrayLike, tail: float) -> tuple[FloatArray, FloatArray]:
    """The quantiles `tail` and 1 - `tail` over the first axis; NaN draws do not count.

    The p-quantile of R draws is the p(R + 1)-th of them (Davison & Hinkley 1997, §5.2):
    interpolating between p(R - 1) instead loses 1 % of coverage at 200 draws.
    """
    draws = np.asarray(draws, np.float64)
    with warnings.catch_warnings():
        # Where no draw is known, the quantile is NaN, which says the same.
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        low, high = np.nanquantile(draws, [tail, 1 - tail], axis=0, method="weibull")
    return low, high


def interval(draws: ArrayLike, tail: float) -> tuple[float, float]:
    """The percentile interval of a scalar's draws; `tail` is cut off on either side.

    NaN where fewer than two draws are finite.
    """
    if np.isfinite(draws).sum() < 2:
        return float("nan"), float("nan")
    low, high = percentiles(draws, tail)
    return float(low), float(high)


def tail_of_fit(fit: Fit) -> float:
    """The share of the draws that a fit's intervals cut off on either side."""
    record = fit.provenance.bootstrap
    return float(record.get("tail", (1 - record.get("level", 0.95)) / 2))
