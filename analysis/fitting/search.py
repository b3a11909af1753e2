"""Looks for the global optimum of a regression: many starts, solved at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from analysis.errors import AnalysisError
from analysis.fitting import lanes
from analysis.fitting.newton import to_natural
from analysis.fitting.options import ABSOLUTE_DELTAS, THOROUGH, Objective, Search
from analysis.fitting.padding import pad_rows
from analysis.fitting.problem import Problem
from analysis.fitting.starts import make_starts
from analysis.laws.arrays import Constants, FloatArray
from analysis.laws.base import Law

LARGE, SAMPLE = 20_000, 4_096
"""Rows beyond which a sample is searched from all starts, and the rows of it."""
SAME_OBJECTIVE = 1e-6
"""The relative difference below which two optima are the same."""


class Optimum(NamedTuple):
    """The best point of a search.

    Attributes:
        theta: (p,) solver coordinates.
        objective: there.
        share_at_best: share of the starts that ended at that objective.
        converged: whether the best start reached its tolerance.
        local: (optima, p) distinct local optima, the best one first.
    """

    theta: FloatArray
    objective: float
    share_at_best: float
    converged: bool
    local: FloatArray


def minimise(
    problem: Problem,
    starts: FloatArray,
    search: Search = THOROUGH,
    *,
    near: bool = False,
    held: np.ndarray | None = None,
) -> lanes.Solution:
    """The optima of the objective's own loss from every start (lanes, p).

    Least absolute deviations are reached through Huber losses with shrinking δ, each
    started at the optimum of the one before; their objective is sum w_i |r_i|.
    Arguments are as for `lanes.solve`.
    """
    objective = problem.objective
    if objective.loss != "absolute":
        return lanes.solve(problem, starts, search, near=near, held=held)

    def approach(loss: Objective, theta: FloatArray) -> lanes.Solution:
        smooth = replace(problem, objective=loss)
        return lanes.solve(smooth, theta, search, near=near, held=held)

    solution = approach(replace(objective, loss="squares"), starts)
    for delta in ABSOLUTE_DELTAS:
        huber = replace(objective, loss="huber", delta=delta)
        solution = approach(huber, solution.theta)
    return replace(solution, objective=solution.objective / ABSOLUTE_DELTAS[-1])


def find_optimum(
    problem: Problem,
    search: Search = THOROUGH,
    extra_starts: Constants | None = None,
) -> Optimum:
    """The best optimum from many starts.

    Of many rows a sample is searched, and all rows decide between its optima.

    Args:
        problem: the regression.
        search: number of starts and tolerance.
        extra_starts: constants, natural units, to start from besides the drawn ones.

    Raises:
        AnalysisError: no start gives a finite loss.
    """
    if problem.rows <= LARGE:
        return find_optima([problem], search, extra_starts)[0]
    found = find_optima([_sample(problem, search.seed)], search, extra_starts)[0]
    solution = minimise(problem, found.local, search, near=True)
    best = _best(problem, solution)
    return best._replace(share_at_best=found.share_at_best)


def _sample(problem: Problem, seed: int) -> Problem:
    """A regression on some of the rows, those at the ends of each column among them."""
    used = np.flatnonzero(problem.weights > 0)
    count = min(SAMPLE, len(used))
    some = np.random.default_rng(seed).choice(used, count, replace=False)
    ends = [
        used[pick(values[used])]
        for values in (*problem.columns.values(), problem.y)
        for pick in (np.argmin, np.argmax)
    ]
    rows = np.unique([*some, *ends])
    return replace(
        problem,
        columns={k: v[rows] for k, v in problem.columns.items()},
        y=problem.y[rows],
        weights=problem.weights[rows],
    )


def find_optima(
    problems: Sequence[Problem],
    search: Search = THOROUGH,
    extra_starts: Constants | None = None,
) -> list[Optimum]:
    """The best optimum of each problem; all are solved in one compiled batch.

    Args:
        problems: of one law and objective; their tables may differ in length.
        search: number of starts of each and tolerance.
        extra_starts: as for `find_optimum`.

    Raises:
        AnalysisError: a problem has no start that gives a finite loss.
    """
    starts = [_starts(p, search, extra_starts) for p in problems]
    each = len(starts[0])
    solution = minimise(_stacked(problems, each), np.concatenate(starts), search)
    return [
        _best(problem, solution.take(slice(i * each, (i + 1) * each)))
        for i, problem in enumerate(problems)
    ]


def _starts(problem: Problem, search: Search, extra: Constants | None) -> FloatArray:
    """The starts (starts, p) of one problem, solver coordinates."""
    law = problem.law
    drawn = make_starts(
        law,
        problem.columns,
        problem.y,
        problem.weights,
        count=search.starts,
        seed=search.seed,
    )
    starts = lanes.to_solver(law, drawn)
    if extra is None:
        return starts
    return np.concatenate([starts, np.atleast_2d(lanes.to_solver(law, extra))])


def _stacked(problems: Sequence[Problem], each: int) -> Problem:
    """All problems as one of (problems * each, rows): a lane for each of its starts.

    A single problem stays as it is: its lanes share their rows.
    """
    first = problems[0]
    if len(problems) == 1:
        return first
    rows = max(p.rows for p in problems)

    def stack(arrays: Iterable[FloatArray], fill: float | None = None) -> FloatArray:
        padded = np.stack([pad_rows(a, rows, fill) for a in arrays])
        return np.repeat(padded, each, axis=0)

    return replace(
        first,
        columns={k: stack(p.columns[k] for p in problems) for k in first.columns},
        y=stack(p.y for p in problems),
        weights=stack((p.weights for p in problems), 0.0),
    )


def _best(problem: Problem, solution: lanes.Solution) -> Optimum:
    """The optimum that the lanes of one problem have found."""
    best = int(np.argmin(solution.objective))
    lowest = float(solution.objective[best])
    if not np.isfinite(lowest):
        raise AnalysisError(
            f"{problem.law.name} gives no finite loss from any of "
            f"{len(solution.objective)} starts"
        )
    close = lowest * (1 + SAME_OBJECTIVE) + 1e-20 * problem.rows
    return Optimum(
        solution.theta[best],
        lowest,
        float(np.mean(solution.objective <= close)),
        bool(solution.converged[best]),
        _distinct(solution, lowest),
    )


def _distinct(solution: lanes.Solution, lowest: float, most: int = 4) -> FloatArray:
    """The best few optima with different objectives, none above twice the best."""
    order = np.argsort(solution.objective)
    chosen = [order[0]]
    for i in order[1:]:
        last = solution.objective[chosen[-1]]
        if solution.objective[i] > 2 * lowest or len(chosen) == most:
            break
        if solution.objective[i] > last * (1 + 1e-4) + 1e-16:
            chosen.append(i)
    return solution.theta[chosen]


def constants_of(law: Law, theta: FloatArray) -> dict[str, float]:
    """The named constants, in natural units, of one point (p,) of the solver."""
    return {k: float(v) for k, v in constants_of_each(law, theta).items()}


def constants_of_each(law: Law, theta: FloatArray) -> dict[str, FloatArray]:
    """The named constants (…), in natural units, of solver coordinates (…, p)."""
    return to_natural(np, law, np.asarray(theta))
