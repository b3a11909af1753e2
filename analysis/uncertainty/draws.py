"""Bootstrap draws of any estimator: weights of whole units, or losses drawn anew.

Units are drawn by weights where they are many, and seeds always; of fewer units the
residuals are drawn (`wild`). Laws, and estimators that are no regression of one law,
follow the same rule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from analysis.errors import AnalysisError
from analysis.fitting.problem import Problem
from analysis.laws.arrays import FloatArray
from analysis.uncertainty.units import Bootstrap, Units
from analysis.uncertainty.wild import Errors, law_errors, wild_losses

Estimator = Callable[[FloatArray, FloatArray], FloatArray]
"""`(weights, losses) -> estimates`, (replicas, rows) twice -> (replicas, …)."""


class Replicas(NamedTuple):
    """Row weights and losses of the replicas.

    Attributes:
        weights: (replicas, rows), or (rows,) where the replicas share them.
        losses: (replicas, rows), or (rows,) where the replicas share them.
    """

    weights: FloatArray
    losses: FloatArray


def bootstrap_draws(
    estimate: Estimator,
    losses: FloatArray,
    units: Units,
    bootstrap: Bootstrap,
    errors: Errors | None = None,
) -> FloatArray:
    """Estimates (replicas, …) of any estimator, drawn as the constants of a law are.

    For a quantity that one call computes for all replicas::

        units = units_of(table, bootstrap.kind)
        errors = linear_errors(design, losses, units)       # where there is a fit
        draws = bootstrap_draws(estimate, losses, units, bootstrap, errors)
        interval(draws, tail_of(units, bootstrap.level))

    Args:
        estimate: from weights and losses, both (replicas, rows); NaN for a replica
            that has no estimate. It must honour both: one of them varies.
        losses: (rows,) observed, nats.
        units: what is drawn.
        bootstrap: number and seed of the replicas.
        errors: of a regression through the losses, from which those of few units are
            drawn. None, for an estimator without a fit, always draws by weights.
    """
    replicas = redraw(losses, units, bootstrap, errors)
    shape = (bootstrap.replicas, len(losses))
    weights, drawn = (np.broadcast_to(a, shape) for a in replicas)
    return estimate(weights, drawn)


def redraw(
    losses: FloatArray, units: Units, bootstrap: Bootstrap, errors: Errors | None
) -> Replicas:
    """The weights, or the losses, of every replica; arguments as `bootstrap_draws`."""
    rng = np.random.default_rng(bootstrap.seed)
    if errors is not None and units.by_residuals:
        drawn = wild_losses(errors, bootstrap.replicas, rng)
        return Replicas(np.ones(len(losses)), drawn)
    return Replicas(draw_weights(units, bootstrap.replicas, rng), losses)


def redrawn(
    problem: Problem, theta: FloatArray, units: Units, bootstrap: Bootstrap
) -> Problem:
    """The problem with the weights, or the losses, of every replica (replicas, rows).

    Args:
        problem: of the full fit.
        theta: (p,) its optimum, solver coordinates.
        units: what is drawn.
        bootstrap: number and seed of the replicas.
    """
    errors = law_errors(problem, theta, units) if units.by_residuals else None
    weights, losses = redraw(problem.y, units, bootstrap, errors)
    return replace(problem, y=losses, weights=weights * problem.weights)


def draw_weights(units: Units, replicas: int, rng: np.random.Generator) -> FloatArray:
    """The weights (replicas, rows) of units drawn with replacement.

    Args:
        units: what is drawn.
        replicas: number of draws.
        rng: of the draws.
    """
    if units.strata is None:
        return resampled_weights(units.labels, replicas, rng)
    return seed_weights(units.strata, replicas, rng, units.labels)


def resampled_weights(
    units: np.ndarray, replicas: int, rng: np.random.Generator
) -> FloatArray:
    """The multiplicity (replicas, rows) of each row when whole units are drawn.

    Raises:
        AnalysisError: there is one unit only.
    """
    _, index = np.unique(units, return_inverse=True)
    count = int(index.max()) + 1
    if count < 2:
        raise AnalysisError("a bootstrap needs at least 2 units, the table has 1")
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=replicas)
    return drawn[:, index].astype(np.float64)


def seed_weights(
    configurations: np.ndarray,
    replicas: int,
    rng: np.random.Generator,
    units: np.ndarray | None = None,
) -> FloatArray:
    """The weights (replicas, rows) when seeds are drawn within each configuration.

    Of m seeds m - 1 are drawn and weighted m / (m - 1), which makes the variance right
    for few seeds (Rao & Wu 1988). `units` names rows that share a seed's training; each
    row is its own when None.

    Raises:
        AnalysisError: a configuration has one seed only.
    """
    units = np.arange(len(configurations)) if units is None else units
    seeds = Units(kind="seed", labels=units, strata=configurations).sizes()
    if seeds.min() < 2:
        raise AnalysisError(
            f"{int(np.sum(seeds < 2))} configurations have one seed only: a bootstrap "
            "over seeds needs two or more; use row"
        )
    weights = np.empty((replicas, len(units)))
    for label in np.unique(configurations):
        rows = np.flatnonzero(configurations == label)
        index = np.unique(units[rows], return_inverse=True)[1]
        m = int(index.max()) + 1
        drawn = rng.multinomial(m - 1, np.full(m, 1 / m), size=replicas)
        weights[:, rows] = (drawn * m / (m - 1))[:, index]
    return weights
