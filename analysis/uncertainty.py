"""How sure a fit is: bootstrap draws, percentile intervals, predictions with bands.

Which bootstrap: "row" when every row is its own run with its own noise; "run" when
several rows come from one training run (their errors move together); "group" when rows
share something else, such as an isoFLOP budget; "seed" when every configuration was
run with two seeds or more: only the spread over seeds is then resampled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from analysis import solver
from analysis.errors import AnalysisError
from analysis.fit import (
    THOROUGH,
    Optimum,
    Search,
    constants_of,
    derived_values,
    fit_parts,
    minimise,
)
from analysis.laws.base import Law, get_law
from analysis.optimum import Allocation, allocate
from analysis.problem import HOFFMANN, Objective, Problem
from analysis.records import Fit
from analysis.table import Table

Kind = Literal["row", "run", "group", "seed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bootstrap:
    """A bootstrap of whole units (Efron 1979; clusters: Davison & Hinkley 1997, §3.8).

    Attributes:
        kind: what is drawn with replacement: rows, whole runs, whole groups, or the
            seeds within each configuration.
        replicas: number of refits.
        level: coverage of the percentile intervals.
        seed: of the draws.
    """

    kind: Kind = "row"
    replicas: int = 1000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("row", "run", "group", "seed"):
            raise AnalysisError(
                f"bootstrap by {self.kind!r} is none of row, run, group, seed"
            )
        if self.replicas < 2:
            raise AnalysisError(f"bootstrap replicas {self.replicas} must be 2 or more")
        if not 0 < self.level < 1:
            raise AnalysisError(f"level {self.level} must be between 0 and 1")


BY_ROW = Bootstrap()


class Band(NamedTuple):
    """A value with an interval; arrays of one shape."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def resampled_weights(
    units: np.ndarray, replicas: int, rng: np.random.Generator
) -> np.ndarray:
    """Multiplicity (replicas, rows) of each row when whole units are drawn."""
    _, index = np.unique(units, return_inverse=True)
    count = int(index.max()) + 1
    if count < 2:
        raise AnalysisError("a bootstrap needs at least 2 units, the table has 1")
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=replicas)
    return drawn[:, index].astype(np.float64)


def seed_weights(
    configurations: np.ndarray, replicas: int, rng: np.random.Generator
) -> np.ndarray:
    """Weights (replicas, rows) when seeds are drawn within each configuration.

    Of m seeds m - 1 are drawn and weighted m / (m - 1), which makes the variance right
    for few seeds (Rao & Wu 1988).

    Raises:
        AnalysisError: a configuration has one seed only.
    """
    _, index, counts = np.unique(
        configurations, return_inverse=True, return_counts=True
    )
    if counts.min() < 2:
        raise AnalysisError(
            f"{int(np.sum(counts < 2))} configurations have one seed only: a bootstrap "
            "over seeds needs two or more; use row"
        )
    weights = np.empty((replicas, len(index)))
    for label, m in enumerate(counts):
        drawn = rng.multinomial(m - 1, np.full(m, 1 / m), size=replicas)
        weights[:, index == label] = drawn * m / (m - 1)
    return weights


def refit(
    problem: Problem, optimum: Optimum, weights: np.ndarray, search: Search = THOROUGH
) -> solver.Solution:
    """Refit under each row of `weights` (replicas, rows), best of the local optima.

    Every replica starts at each distinct local optimum of the full fit, so that a
    replica whose global optimum lies in another basin still finds it.
    """
    replicas, basins = len(weights), len(optimum.local)
    repeated = problem.with_weights(np.repeat(weights, basins, axis=0))
    starts = np.tile(optimum.local, (replicas, 1))
    solution = minimise(repeated, starts, search, near=True)
    best = solution.objective.reshape(replicas, basins).argmin(1)
    pick = np.arange(replicas) * basins + best
    return solver.Solution(
        theta=solution.theta[pick],
        objective=solution.objective[pick],
        iterations=solution.iterations[pick],
        converged=solution.converged[pick],
    )


def bootstrap_draws(
    problem: Problem,
    optimum: Optimum,
    units: np.ndarray,
    bootstrap: Bootstrap,
    search: Search = THOROUGH,
) -> dict[str, np.ndarray]:
    """Constants of every replica: name -> (replicas,), natural units."""
    rng = np.random.default_rng(bootstrap.seed)
    draw = seed_weights if bootstrap.kind == "seed" else resampled_weights
    drawn = draw(units, bootstrap.replicas, rng)
    solution = refit(problem, optimum, drawn * problem.weights, search)
    return constants_of(problem.law, solution.theta)


def percentile_interval(draws: Any, level: float) -> tuple[float, float]:
    """Equal-tailed percentile interval of draws that are finite."""
    draws = np.asarray(draws, np.float64)
    tail = (1 - level) / 2
    low, high = np.nanquantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def fit_with_intervals(
    table: Table,
    law: Law | str = "chinchilla",
    bootstrap: Bootstrap = BY_ROW,
    *,
    objective: Objective = HOFFMANN,
    search: Search = THOROUGH,
) -> Fit:
    """Fit a law and put bootstrap intervals on its constants and derived values.

    Raises:
        AnalysisError: the table cannot be fitted, or has no column for the kind of
            unit that is to be drawn.
    """
    fitted, problem, optimum = fit_parts(table, law, objective, search)
    units = units_of(table, problem, bootstrap.kind)
    draws = bootstrap_draws(problem, optimum, units, bootstrap, search)
    every = draws | derived_values(problem.law, draws)
    recipe = replace(
        fitted.recipe,
        bootstrap={
            "kind": bootstrap.kind,
            "units": len(np.unique(units)),
            "replicas": bootstrap.replicas,
            "level": bootstrap.level,
            "seed": bootstrap.seed,
        },
    )
    return replace(
        fitted,
        intervals={
            k: percentile_interval(v, bootstrap.level) for k, v in every.items()
        },
        recipe=recipe,
        replicas={k: tuple(float(f"{x:.8g}") for x in v) for k, v in draws.items()},
    )


def units_of(table: Table, problem: Problem, kind: Kind) -> np.ndarray:
    """Labels (rows,): of the units drawn, or of the configurations that have seeds."""
    if kind == "row":
        return np.arange(problem.rows)
    if kind == "seed":
        scales = np.stack([problem.columns[k] for k in problem.law.columns])
        return np.unique(scales, axis=1, return_inverse=True)[1].ravel()
    return table.values(kind)


def _band(value: Any, draws: Any, level: float) -> Band:
    if len(draws) == 0:
        nothing = np.full(np.shape(value), np.nan)
        return Band(np.asarray(value), nothing, nothing)
    tail = (1 - level) / 2
    low, high = np.nanquantile(np.asarray(draws), [tail, 1 - tail], axis=0)
    return Band(np.asarray(value), low, high)


def _replicas(fit: Fit, axes: int) -> dict[str, np.ndarray]:
    """Replica constants shaped (replicas, 1, …) to broadcast over rows of `axes`."""
    return {k: np.asarray(v).reshape(-1, *(1,) * axes) for k, v in fit.replicas.items()}


def predict(fit: Fit, columns: Mapping[str, Any], *, new_run: bool = False) -> Band:
    """Predicted loss (nats) with a band from the bootstrap.

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
    with jax.enable_x64(True):
        value = np.asarray(law.predict(fit.constants, arrays))
        draws = (
            np.asarray(law.predict(_replicas(fit, axes), arrays))
            if fit.replicas
            else np.empty(0)
        )
    if new_run and len(draws):
        draws = _with_noise(fit, draws)
    return _band(value, draws, fit.recipe.bootstrap.get("level", 0.95))


def _with_noise(fit: Fit, draws: np.ndarray) -> np.ndarray:
    """Add a residual to every draw, inflated for the constants that were fitted."""
    residuals = np.asarray(fit.residuals)
    spare = max(1, len(residuals) - len(fit.constants))
    residuals = residuals * np.sqrt(len(residuals) / spare)
    rng = np.random.default_rng(fit.recipe.bootstrap.get("seed", 0))
    noise = rng.choice(residuals, size=draws.shape)
    return draws * np.exp(-noise) if fit.recipe.space == "log" else draws - noise


def optimum_at(fit: Fit, compute: np.ndarray | float) -> dict[str, Band]:
    """N*(C), D*(C), tokens per parameter and loss at C, with confidence bands.

    The budget is spent as C = k n d with the k of the fit's table.

    Returns:
        "n", "d", "d_per_n" and "loss" -> `Band` of the shape of `compute`.
    """
    law = get_law(fit.law)
    k = fit.recipe.flops_per_nd
    compute = np.asarray(compute, np.float64)
    best = allocate(law, fit.constants, compute, flops_per_nd=k)
    draws = Allocation(np.empty(0), np.empty(0), np.empty(0))
    if fit.replicas:
        replicas = _replicas(fit, compute.ndim)
        draws = allocate(law, replicas, compute, flops_per_nd=k)
    level = fit.recipe.bootstrap.get("level", 0.95)
    return {
        "n": _band(best.n, draws.n, level),
        "d": _band(best.d, draws.d, level),
        "d_per_n": _band(best.d / best.n, draws.d / draws.n, level),
        "loss": _band(best.loss, draws.loss, level),
    }
