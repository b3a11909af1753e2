"""The few rows on which a fitted quantity hangs: without them it leaves its interval.

A bootstrap interval says how far chance moves a constant. A handful of rows that move
it further than that by their absence must be looked at before it is believed
(Broderick, Giordano & Meager 2020, arXiv:2011.14999, ask this of regressions).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from analysis.fitting import lanes
from analysis.fitting.fit import derived_values
from analysis.fitting.options import Search
from analysis.fitting.problem import Problem
from analysis.fitting.search import constants_of_each, minimise
from analysis.laws.arrays import FloatArray
from analysis.tables.table import Table

SHARE, MOST = 0.02, 5
"""The share of the rows, and the number, that may be left out together."""
LARGE = 20_000
"""The rows beyond which so few cannot matter."""
TRIED = 400
"""The rows that are left out one by one; of more, those with the greatest slope."""

Intervals = Mapping[str, tuple[float, float]]


def influence(
    table: Table,
    problem: Problem,
    theta: FloatArray,
    intervals: Intervals,
    search: Search,
) -> str | None:
    """The sentence on the fewest rows whose absence moves a quantity off its interval.

    Coefficients are not looked at: they follow the exponents.

    Args:
        table: the rows.
        problem: the regression.
        theta: (p,) its optimum, solver coordinates.
        intervals: of the constants and derived values.
        search: tolerance of the refits.
    """
    rows = problem.rows
    spare = rows - len(problem.law.parameters)
    if rows > LARGE or spare < MOST:
        return None
    coefficients = {p.name for p in problem.law.parameters if p.scale == "log"}
    names = [
        k
        for k, (low, high) in intervals.items()
        if high > low and k not in coefficients
    ]
    if not names:
        return None
    tried = _steepest(problem, theta)
    alone = _without(problem, theta, [np.array([row]) for row in tried], search)
    whole = _values(problem, theta[None])
    sets = []
    for name in names:
        order = tried[np.argsort(alone[name] - whole[name])]
        for count in range(1, 1 + min(MOST, int(np.ceil(SHARE * rows)))):
            sets += [(name, order[:count]), (name, order[::-1][:count])]
    values = _without(problem, theta, [rows for _, rows in sets], search)
    for i in sorted(range(len(sets)), key=lambda i: len(sets[i][1])):
        name, left_out = sets[i]
        low, high = intervals[name]
        if not low <= values[name][i] <= high:
            rows_left = ", ".join(table.names_of(sorted(left_out.tolist())))
            them = "them" if len(left_out) > 1 else "it"
            return (
                f"{rows_left} decide{'s' * (len(left_out) == 1)} on "
                f"{name}: without {them} it is {values[name][i]:.3g} instead of "
                f"{whole[name][0]:.3g} [{low:.3g}, {high:.3g}]; see whether "
                f"{'they are' if len(left_out) > 1 else 'it is'} right"
            )
    return None


def _steepest(problem: Problem, theta: FloatArray) -> np.ndarray:
    """The rows that pull the most on the constants, all of them if they are few."""
    if problem.rows <= TRIED:
        return np.arange(problem.rows)
    objective = problem.objective
    r, jac = lanes.jacobian(
        problem.law, theta, problem.columns, problem.y, objective.log
    )
    size = np.minimum(1, objective.threshold / np.abs(r + 1e-300))
    m = jac.T @ (jac * (problem.weights * size)[:, None])
    pulls = (jac * (problem.weights * size * r)[:, None]).T
    moved, *_ = np.linalg.lstsq(m, pulls, rcond=None)
    scaled = moved * np.sqrt(np.diag(m))[:, None]
    return np.argsort(-np.linalg.norm(scaled, axis=0))[:TRIED]


def _without(
    problem: Problem, theta: FloatArray, sets: list[np.ndarray], search: Search
) -> dict[str, FloatArray]:
    """The constants and derived values (sets,) of refits without each set of rows."""
    weights = np.repeat(problem.weights[None], len(sets), axis=0)
    for i, rows in enumerate(sets):
        weights[i, rows] = 0
    starts = np.repeat(theta[None], len(sets), axis=0)
    solution = minimise(problem.with_weights(weights), starts, search, near=True)
    return _values(problem, solution.theta)


def _values(problem: Problem, theta: FloatArray) -> dict[str, FloatArray]:
    constants = constants_of_each(problem.law, theta)
    return constants | derived_values(problem.law, constants)
