"""Profile likelihood: how the objective rises when one constant is held elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from analysis.errors import AnalysisError
from analysis.fitting import lanes
from analysis.fitting.options import THOROUGH, Search
from analysis.fitting.problem import Problem
from analysis.fitting.search import Optimum, minimise
from analysis.laws.arrays import FloatArray

POINTS = 81
"""The points of a profile's grid."""
REACH = (4.0, 16.0, 64.0)
"""The half widths of the grid, in standard errors, tried until it is wide enough."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """The objective minimised over all other constants.

    Attributes:
        name: the constant that is held.
        values: where it is held, natural units, ascending.
        objective: the minimum there.
        threshold: the objective at the ends of the interval.
        interval: where the profile stays below the threshold; infinite on a side where
            it never rises above it.
    """

    name: str
    values: FloatArray
    objective: FloatArray
    threshold: float
    interval: tuple[float, float]


def profile_objective(
    problem: Problem,
    optimum: Optimum,
    name: str,
    values: FloatArray,
    search: Search = THOROUGH,
) -> FloatArray:
    """The least objective with the constant held at each of `values` (natural units).

    Every value starts from each local optimum of the full fit, with the other constants
    there and moved along the ridge of the objective (its quadratic approximation):
    far out, where constants trade against each other, only the second finds the least.

    Args:
        problem: the regression.
        optimum: of the full fit.
        name: of the constant.
        values: where it is held.
        search: tolerance.

    Raises:
        AnalysisError: the law has no such constant.
    """
    names = problem.law.parameter_names
    if name not in names:
        raise AnalysisError(
            f"{problem.law.name} has no constant {name!r}; it has {', '.join(names)}"
        )
    at = names.index(name)
    log = problem.law.parameters[at].scale == "log"
    moves = (np.log(values) if log else values) - optimum.local[:, at, None]
    held = np.arange(len(names)) == at
    ridge = _ridge(problem, optimum.theta, at)
    starts = np.concatenate(
        [optimum.local[:, None] + moves[..., None] * step for step in (held, ridge)]
    )
    flat = starts.reshape(-1, len(names))
    solution = minimise(problem, flat, search, held=held)
    return np.asarray(solution.objective.reshape(len(starts), -1).min(axis=0))


def _ridge(problem: Problem, theta: FloatArray, at: int) -> FloatArray:
    """The moves of all constants (p,) when one is moved by 1 and the others follow."""
    log = problem.objective.log
    _, jac = lanes.jacobian(problem.law, theta, problem.columns, problem.y, log)
    covariance = np.linalg.pinv((jac.T * problem.weights) @ jac)
    if not covariance[at, at] > 0:  # the rows say nothing about it
        return np.asarray(np.arange(len(theta)) == at, np.float64)
    return np.asarray(covariance[at] / covariance[at, at])


def dispersion(problem: Problem, residuals: FloatArray) -> float:
    """The factor between twice the objective's rise and a χ² variable.

    Σψ² / (n - p) divided by Σψ' / n: the τ test of robust regression (Ronchetti 1982;
    Hampel et al. 1986, §7.2). For least squares it is the residual variance.
    """
    o, w = problem.objective, problem.weights
    if o.loss == "absolute":
        raise AnalysisError("a profile needs huber or squares, not absolute deviations")
    delta = o.threshold
    inside = float(np.sum(w * (np.abs(residuals) <= delta))) / problem.rows
    if inside == 0:
        raise AnalysisError(
            f"no residual is within delta = {delta:g}: raise delta for a profile"
        )
    spare = problem.rows - len(problem.law.parameters)
    if spare <= 0:
        raise AnalysisError("a profile needs more rows than constants")
    return float(np.sum(w * np.clip(residuals, -delta, delta) ** 2)) / spare / inside


def profile(
    problem: Problem,
    optimum: Optimum,
    name: str,
    *,
    level: float = 0.95,
    search: Search = THOROUGH,
) -> Profile:
    """The profile of one constant, its interval read off the likelihood ratio.

    The grid widens until the profile crosses the threshold on both sides, or spans 64
    standard errors.

    Args:
        problem: the regression.
        optimum: of the full fit.
        name: of the constant.
        level: coverage of the interval.
        search: tolerance.

    Raises:
        AnalysisError: unknown constant, too few rows, or the objective has no profile.
    """
    law = problem.law
    if name not in law.parameter_names:
        raise AnalysisError(f"{law.name} has no constant {name!r}")
    at = law.parameter_names.index(name)
    log = problem.objective.log
    r, jac = lanes.jacobian(law, optimum.theta, problem.columns, problem.y, log)
    scale = dispersion(problem, r)
    threshold = optimum.objective + scale * float(special.gammaincinv(0.5, level))
    covariance = scale * np.linalg.pinv((jac.T * problem.weights) @ jac)
    error = float(np.sqrt(covariance[at, at]))
    low, high = (b[at] for b in lanes.bounds(law))
    for reach in REACH:
        grid = optimum.theta[at] + error * np.linspace(-reach, reach, POINTS)
        grid = np.unique(np.clip(grid, low, high))
        values = np.exp(grid) if law.parameters[at].scale == "log" else grid
        least = profile_objective(problem, optimum, name, values, search)
        if min(least[0], least[-1]) > threshold:
            break
    return Profile(
        name=name,
        values=values,
        objective=least,
        threshold=threshold,
        interval=_crossings(values, least, threshold),
    )


def _crossings(
    values: FloatArray, least: FloatArray, threshold: float
) -> tuple[float, float]:
    """The values on either side of the minimum where the profile crosses."""
    best = int(np.argmin(least))
    above = least > threshold
    left, right = np.flatnonzero(above[:best]), np.flatnonzero(above[best:])

    def cross(inner: int, outer: int) -> float:
        span = least[outer] - least[inner]
        share = (threshold - least[inner]) / span
        return float(values[inner] + share * (values[outer] - values[inner]))

    low = cross(left[-1] + 1, left[-1]) if len(left) else -np.inf
    high = cross(best + right[0] - 1, best + right[0]) if len(right) else np.inf
    return low, high
