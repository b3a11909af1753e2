"""Looks for the global optimum of a regression: many starts, solved at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import numpy as np

from analysis.errors import AnalysisError
from analysis.fitting import lanes
from analysis.fitting.newton import to_natural
from analysis.fitting.problem import Problem
from analysis.fitting.starts import make_starts
from analysis.laws.base import Law

SAME_OBJECTIVE = 1e-6  # relative difference below which two optima are the same
ABSOLUTE_DELTAS = (1e-1, 1e-3, 1e-5, 1e-7)  # continuation to least absolute deviations


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """How hard to look for the global optimum.

    Attributes:
        starts: number of starting points.
        seed: of their placement.
        tolerance: relative decrement at which a start stops (see `solver.solve`).
        max_iterations: steps after which it stops unconverged.
    """

    starts: int = 64
    seed: int = 0
    tolerance: float = 1e-12
    max_iterations: int = 300

    def __post_init__(self) -> None:
        if self.starts < 1:
            raise AnalysisError(f"starts {self.starts} must be at least 1")


THOROUGH = Search()


class Optimum(NamedTuple):
    """Best point of a search and the distinct local optima near it (θ rows)."""

    theta: np.ndarray
    objective: float
    share_at_best: float
    converged: bool
    local: np.ndarray


def minimise(
    problem: Problem,
    starts: np.ndarray,
    search: Search = THOROUGH,
    *,
    near: bool = False,
    held: np.ndarray | None = None,
) -> lanes.Solution:
    """Solve from every start (lanes, p), by the objective's own loss.

    Least absolute deviations are reached through Huber losses with shrinking δ, each
    started at the optimum of the one before; their objective is sum w_i |r_i|.

    Args:
        problem: weights, losses and columns may be (lanes, rows).
        starts: (lanes, p), solver coordinates.
        search: tolerance and most steps.
        near: the starts are close to their optima: steps begin undamped.
        held: (p,) marks constants that stay at their start.
    """
    o = problem.objective

    def run(theta: np.ndarray, delta: float) -> lanes.Solution:
        return lanes.solve(
            problem.law,
            starts=theta,
            columns=problem.columns,
            y=problem.y,
            weights=problem.weights,
            delta=delta,
            log=o.space == "log",
            tolerance=search.tolerance,
            max_iterations=search.max_iterations,
            damping=1e-3 if near else 10.0,
            held=held,
        )

    if o.loss != "absolute":
        return run(starts, o.delta if o.loss == "huber" else np.inf)
    solution = run(starts, np.inf)
    for delta in ABSOLUTE_DELTAS:
        solution = run(solution.theta, delta)
    return replace(solution, objective=solution.objective / ABSOLUTE_DELTAS[-1])


def find_optimum(
    problem: Problem,
    search: Search = THOROUGH,
    extra_starts: Mapping[str, Any] | None = None,
) -> Optimum:
    """Search from many starts. Raises `AnalysisError` if none gives a finite loss.

    Args:
        problem: the regression.
        search: how hard to look.
        extra_starts: constants, natural units, to start from besides the drawn ones.
    """
    drawn = make_starts(
        problem.law,
        problem.columns,
        problem.y,
        problem.weights,
        count=search.starts,
        seed=search.seed,
    )
    starts = lanes.to_solver(problem.law, drawn)
    if extra_starts is not None:
        extra = np.atleast_2d(lanes.to_solver(problem.law, extra_starts))
        starts = np.concatenate([starts, extra])
    solution = minimise(problem, starts, search)
    best = int(np.argmin(solution.objective))
    lowest = float(solution.objective[best])
    if not np.isfinite(lowest):
        raise AnalysisError(
            f"{problem.law.name} gives no finite loss from any of {len(starts)} starts"
        )
    close = lowest * (1 + SAME_OBJECTIVE) + 1e-20 * problem.rows
    return Optimum(
        solution.theta[best],
        lowest,
        float(np.mean(solution.objective <= close)),
        bool(solution.converged[best]),
        _distinct(solution, lowest),
    )


def _distinct(solution: lanes.Solution, lowest: float, keep: int = 4) -> np.ndarray:
    """The best few optima with different objectives, none above twice the best."""
    order = np.argsort(solution.objective)
    chosen = [order[0]]
    for i in order[1:]:
        last = solution.objective[chosen[-1]]
        if solution.objective[i] > 2 * lowest or len(chosen) == keep:
            break
        if solution.objective[i] > last * (1 + 1e-4) + 1e-16:
            chosen.append(i)
    return solution.theta[chosen]


def constants_of(law: Law, theta: np.ndarray) -> dict[str, Any]:
    """Solver coordinates (…, p) as named constants: floats, or arrays for many."""
    with jax.enable_x64(True):
        natural = {k: np.asarray(v) for k, v in to_natural(law, theta).items()}
    return {k: float(v) if v.ndim == 0 else v for k, v in natural.items()}
