"""The certainty of a fit: percentile intervals, and predictions with bands.

What is drawn, and which kind to use when, is in `units`; how it is drawn, in `draws`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from analysis.errors import AnalysisError
from analysis.fitting import lanes
from analysis.fitting.fit import derived_values, fit_parts
from analysis.fitting.options import DEFAULT, THOROUGH, FitOptions, Search
from analysis.fitting.problem import Problem
from analysis.fitting.record import Fit
from analysis.fitting.search import Optimum, constants_of_each, minimise
from analysis.laws.allocation import Allocation, allocate
from analysis.laws.arrays import FloatArray, Number
from analysis.laws.base import Law, get_law
from analysis.tables.table import Table
from analysis.uncertainty.draws import redrawn
from analysis.uncertainty.influence import influence
from analysis.uncertainty.units import BY_ROW, Bootstrap, Units, units_of

NOT_KNOWN = (math.nan, math.nan)
"""The interval of what the rows do not determine."""
MOST_WEIGHTS = 20_000_000
"""Replicas times rows that are drawn at a time."""


class Band(NamedTuple):
    """A value with an interval; arrays of one shape."""

    value: FloatArray
    low: FloatArray
    high: FloatArray


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
    provenance = replace(fitted.provenance, bootstrap=record)
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


def _band(value: FloatArray, draws: FloatArray, tail: float) -> Band:
    if len(draws) == 0:
        unknown = np.full(np.shape(value), np.nan)
        return Band(np.asarray(value), unknown, unknown)
    return Band(np.asarray(value), *percentiles(draws, tail))


def _replicas(fit: Fit, axes: int) -> dict[str, FloatArray]:
    """The replicas' constants (replicas, 1, …), to broadcast over rows of `axes`."""
    return {k: np.asarray(v).reshape(-1, *(1,) * axes) for k, v in fit.replicas.items()}


def predict(
    fit: Fit, columns: Mapping[str, ArrayLike], *, new_run: bool = False
) -> Band:
    """The predicted loss (nats) with a band from the bootstrap.

    Args:
        fit: a fit; without replicas the band is NaN.
        columns: column of the law -> value or array.
        new_run: the band is of the loss that one further run will measure (prediction
            interval: each draw carries a resampled residual), not of the law.

    Raises:
        AnalysisError: a column of the law is missing.
    """
    law = get_law(fit.law)
    missing = [k for k in law.columns if k not in columns]
    if missing:
        raise AnalysisError(f"{law.name} needs {', '.join(missing)} to predict a loss")
    arrays = {k: np.asarray(columns[k], np.float64) for k in law.columns}
    axes = np.broadcast(*arrays.values()).ndim
    value = law.losses(fit.constants, arrays)
    draws = law.losses(_replicas(fit, axes), arrays) if fit.replicas else np.empty(0)
    if new_run and len(draws):
        draws = _with_noise(fit, draws)
    return _band(value, draws, tail_of_fit(fit))


def _with_noise(fit: Fit, draws: FloatArray) -> FloatArray:
    """The draws, each with a residual, inflated for the constants that were fitted."""
    residuals = np.asarray(fit.residuals)
    spare = max(1, len(residuals) - len(fit.constants))
    residuals = residuals * np.sqrt(len(residuals) / spare)
    rng = np.random.default_rng(fit.provenance.bootstrap.get("seed", 0))
    noise = rng.choice(residuals, size=draws.shape)
    return draws * np.exp(-noise) if fit.provenance.space == "log" else draws - noise


def optimum_at(fit: Fit, compute: Number) -> dict[str, Band]:
    """The optimal N*(C), D*(C), D*/N* and loss at C, with confidence bands.

    The budget is spent as C = k n d with the k of the fit's table.

    Returns:
        "n", "d", "d_per_n" and "loss" -> `Band` of the shape of `compute`.
    """
    law = get_law(fit.law)
    k = fit.provenance.flops_per_nd
    compute = np.asarray(compute, np.float64)
    best = allocate(law, fit.constants, compute, flops_per_nd=k)
    draws = Allocation(np.empty(0), np.empty(0), np.empty(0))
    if fit.replicas:
        replicas = _replicas(fit, compute.ndim)
        draws = allocate(law, replicas, compute, flops_per_nd=k)
    tail = tail_of_fit(fit)
    return {
        "n": _band(best.n, draws.n, tail),
        "d": _band(best.d, draws.d, tail),
        "d_per_n": _band(best.d / best.n, draws.d / draws.n, tail),
        "loss": _band(best.loss, draws.loss, tail),
    }
