"""Many small robust regressions solved together in float64, on all cores.

A *lane* is one minimisation (`newton`) from one start. A law that is a formula, as
nearly all are, is solved by numpy (`in_numpy`), with its operations as JAX traces them
(`analysis.laws.interpret`); any other by compiled programs (`in_programs`). Both take
the same steps, on as many threads as there are cores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.fitting import in_numpy, in_programs
from analysis.fitting.newton import Point, Regression, State
from analysis.fitting.options import THOROUGH, Search
from analysis.fitting.problem import Problem
from analysis.fitting.states import NumpyState
from analysis.laws.arrays import Constants, FloatArray
from analysis.laws.base import Law
from analysis.laws.interpret import slopes_of

NEAR, FAR = 1e-3, 10.0
"""Ten times the first step's damping, from starts close to their optima or not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Solution:
    """The optima that the lanes have reached.

    Attributes:
        theta: (lanes, p) optimum in the solver's coordinates.
        objective: (lanes,) value there; inf where no start value was finite.
        iterations: (lanes,) steps taken.
        converged: (lanes,) whether the decrement fell below the tolerance.
    """

    theta: FloatArray
    objective: FloatArray
    iterations: np.ndarray
    converged: np.ndarray

    def take(self, index: np.ndarray | slice) -> Solution:
        """The solution of some of its lanes."""
        return Solution(
            theta=self.theta[index],
            objective=self.objective[index],
            iterations=self.iterations[index],
            converged=self.converged[index],
        )


def to_solver(law: Law, constants: Constants) -> FloatArray:
    """The solver coordinates (…, p) of named constants in natural units."""
    values = [np.asarray(constants[p.name], np.float64) for p in law.parameters]
    logged = [
        np.log(v) if p.scale == "log" else v
        for p, v in zip(law.parameters, values, strict=True)
    ]
    return np.stack(np.broadcast_arrays(*logged), axis=-1)


def bounds(law: Law) -> tuple[FloatArray, FloatArray]:
    """The lower and upper bounds (p,) in solver coordinates."""
    low = np.array([p.to_solver(p.lower) for p in law.parameters])
    high = np.array([p.to_solver(p.upper) for p in law.parameters])
    return low, high


def jacobian(
    law: Law,
    theta: FloatArray,
    columns: Mapping[str, FloatArray],
    y: FloatArray,
    log: bool,
) -> tuple[FloatArray, FloatArray]:
    """The residuals (rows,) and their Jacobian (rows, p) in solver coordinates.

    Args:
        law: the functional form.
        theta: (p,) solver coordinates.
        columns: column of the law -> (rows,).
        y: (rows,) observed loss.
        log: residuals of ln loss, else of loss in nats.
    """
    given = {k: np.asarray(columns[k], np.float64) for k in law.columns}
    formula = slopes_of(law.predict, law.parameter_names, law.columns)
    if formula is None:
        return in_programs.jacobian(law, log, theta, given, y)
    slopes = in_numpy.Model(law, log, formula).slopes(given, y)
    with np.errstate(all="ignore"):
        r, jac = slopes(np.asarray(theta, np.float64)[None])
    return r[0], jac[0].T


def solve(
    problem: Problem,
    starts: FloatArray,
    search: Search = THOROUGH,
    *,
    near: bool = False,
    held: np.ndarray | None = None,
) -> Solution:
    """The optima reached from every start.

    A lane stops when gᵀM⁻¹g/2 (the decrease that an IRLS step would bring) is below the
    search's tolerance as a fraction of its objective.

    Args:
        problem: its columns, losses and weights are (rows,), shared by all lanes, or
            (lanes, rows). The Huber loss of the objective's threshold is minimised.
        starts: (lanes, p) in solver coordinates.
        search: tolerance and most steps.
        near: the starts are close to their optima: steps begin undamped.
        held: (p,) marks constants that stay at their start; None holds none.
    """
    law, log = problem.law, problem.objective.log
    starts = np.atleast_2d(np.asarray(starts, np.float64))
    low, high = (np.broadcast_to(b, starts.shape) for b in bounds(law))
    if held is not None:
        low, high = (np.where(held, starts, b) for b in (low, high))
    columns: dict[str, np.ndarray] = {
        k: np.asarray(problem.columns[k], np.float64) for k in law.columns
    }
    regression = Regression(
        columns=columns,
        y=np.asarray(problem.y, np.float64),
        weights=np.atleast_2d(np.asarray(problem.weights, np.float64)),
        delta=np.asarray(problem.objective.threshold),
        tolerance=np.asarray(search.tolerance),
        low=low,
        high=high,
    )
    state = _first_state(np.clip(starts, low, high), NEAR if near else FAR)
    formula = slopes_of(law.predict, law.parameter_names, law.columns)
    most = search.max_iterations
    if formula is None:
        state = in_programs.solve(law, log, regression, state, most)
    else:
        model = in_numpy.Model(law, log, formula)
        state = in_numpy.solve(model, regression, state, most)
    return Solution(
        theta=state.theta,
        objective=state.point.objective,
        iterations=np.maximum(state.iteration - 1, 0),
        converged=state.converged,
    )


def _first_state(starts: FloatArray, damping: float) -> NumpyState:
    """The state before the first trial, which is the start itself.

    Against an infinite objective it is accepted, and that lowers the damping tenfold.
    """
    lanes, size = starts.shape
    square, ones = np.zeros((lanes, size, size)), np.ones(lanes)
    point = Point(ones * np.inf, np.zeros((lanes, size)), square, square)
    no, count = np.zeros(lanes, bool), np.zeros(lanes, np.int64)
    return State(starts, point, starts, ones, damping * ones, count, no, no)
