"""Fits a law to a table: robust, from many starts at once, with a certificate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Any, NamedTuple

import jax
import numpy as np

from analysis import solver
from analysis.errors import AnalysisError
from analysis.laws.base import Law
from analysis.newton import to_natural
from analysis.problem import (
    HOFFMANN,
    Objective,
    Problem,
    collinear_columns,
    prepare,
    role_of,
)
from analysis.records import Diagnostics, Fit, Recipe
from analysis.starts import make_starts
from analysis.table import Table

UNIDENTIFIABLE = 1e6  # condition number of the column-scaled Jacobian
FEW_STARTS = 0.2
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
) -> solver.Solution:
    """Solve from every start (lanes, p), by the objective's own loss.

    `near` says that the starts are close to their optima: steps begin undamped. `held`
    (p,) marks constants that stay at their start.

    Least absolute deviations are reached through Huber losses with shrinking δ, each
    started at the optimum of the one before; their objective is sum w_i |r_i|.
    """
    o = problem.objective

    def run(theta: np.ndarray, delta: float) -> solver.Solution:
        return solver.solve(
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
    """Search from many starts. Raises `AnalysisError` if none gives a finite loss."""
    drawn = make_starts(
        problem.law,
        problem.columns,
        problem.y,
        problem.weights,
        count=search.starts,
        seed=search.seed,
    )
    starts = solver.to_solver(problem.law, drawn)
    if extra_starts is not None:
        extra = np.atleast_2d(solver.to_solver(problem.law, extra_starts))
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


def _distinct(solution: solver.Solution, lowest: float, keep: int = 4) -> np.ndarray:
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


def condition_number(jac: np.ndarray, weights: np.ndarray) -> float:
    """Condition number of the weighted Jacobian with columns of unit length."""
    scaled = jac * np.sqrt(weights)[:, None]
    norms = np.linalg.norm(scaled, axis=0)
    if not np.all(np.isfinite(norms)) or np.any(norms < 1e-12 * norms.max()):
        return float("inf")
    return float(np.linalg.cond(scaled / norms))


def _warnings(
    problem: Problem,
    optimum: Optimum,
    starts: int,
    condition: float,
    bound: np.ndarray,
) -> dict[str, str]:
    """Flag -> one sentence for a reader."""
    found = {}
    collinear = collinear_columns(problem)
    if collinear:
        found["unidentifiable"] = (
            f"unidentifiable: {collinear}, so the rows cannot tell the constants apart "
            f"(condition number {condition:.2g}); vary their ratio"
        )
    elif condition > UNIDENTIFIABLE:
        found["unidentifiable"] = (
            f"unidentifiable: condition number {condition:.2g}; some constants can be "
            "exchanged for others without changing the predictions"
        )
    if bound.any():
        names = np.array(problem.law.parameter_names)[bound]
        found["at_bound"] = f"at bound: {', '.join(names)}"
    if optimum.share_at_best < FEW_STARTS:
        found["few_starts_agree"] = (
            f"only {optimum.share_at_best:.0%} of {starts} starts reached the best "
            "objective; raise the number of starts"
        )
    if not optimum.converged:
        found["not_converged"] = "the best start stopped before its tolerance"
    if problem.rows == len(problem.law.parameters):
        found["no_spare_rows"] = "as many constants as rows: the residuals say nothing"
    return found


def diagnose(
    problem: Problem, optimum: Optimum, starts: int
) -> tuple[Diagnostics, np.ndarray]:
    """The certificate of an optimum, and the residuals (rows,)."""
    log = problem.objective.space == "log"
    r, jac = solver.jacobian(
        problem.law, optimum.theta, problem.columns, problem.y, log
    )
    o, w = problem.objective, problem.weights
    delta = {"huber": o.delta, "squares": np.inf, "absolute": ABSOLUTE_DELTAS[-1]}
    slope = np.clip(r, -delta[o.loss], delta[o.loss])
    low, high = solver.bounds(problem.law)
    bound = (optimum.theta <= low) | (optimum.theta >= high)
    gradient = np.where(bound, 0.0, jac.T @ (w * slope))
    condition = condition_number(jac, w)
    warnings = _warnings(problem, optimum, starts, condition, bound)
    diagnostics = Diagnostics(
        rows=problem.rows,
        starts=starts,
        share_at_best=optimum.share_at_best,
        gradient_norm=float(np.linalg.norm(gradient)),
        condition_number=condition,
        rms_residual=float(np.sqrt(np.average(r**2, weights=w))),
        flags=tuple(warnings),
        notes=tuple(warnings.values()),
    )
    return diagnostics, r


def derived_values(law: Law, constants: Mapping[str, Any]) -> dict[str, Any]:
    """Named quantities computed from the constants alone, e.g. a = β/(α+β)."""
    return {name: function(constants) for name, function in law.derived}


def fit_law(
    table: Table,
    law: Law | str = "chinchilla",
    *,
    objective: Objective = HOFFMANN,
    search: Search = THOROUGH,
    start_at: Mapping[str, Any] | None = None,
) -> Fit:
    """Fit a law to a table; `uncertainty.fit_with_intervals` also adds intervals.

    Args:
        table: rows and the columns of the law's roles.
        law: a registered name or a `Law`.
        objective: robust loss, δ and space. The default is Hoffmann et al. 2022's.
        search: number of starts and tolerance.
        start_at: named constants to start from besides the drawn starts.

    Raises:
        AnalysisError: the table cannot be fitted with this law.
    """
    return fit_parts(table, law, objective, search, start_at).fit


class Parts(NamedTuple):
    """A fit with what it was made from, for those who refit."""

    fit: Fit
    problem: Problem
    optimum: Optimum


def fit_parts(
    table: Table,
    law: Law | str,
    objective: Objective = HOFFMANN,
    search: Search = THOROUGH,
    start_at: Mapping[str, Any] | None = None,
) -> Parts:
    """`fit_law`, together with its problem and optimum."""
    problem = prepare(table, law, objective)
    optimum = find_optimum(problem, search, start_at)
    diagnostics, r = diagnose(problem, optimum, search.starts)
    constants = constants_of(problem.law, optimum.theta)
    derived = derived_values(problem.law, constants)
    fitted = Fit(
        law=problem.law.name,
        constants=constants,
        derived={k: float(v) for k, v in derived.items()},
        intervals={},
        objective=optimum.objective,
        diagnostics=diagnostics,
        recipe=make_recipe(table, problem, search),
        residuals=tuple(float(x) for x in r),
    )
    return Parts(fitted, problem, optimum)


def constants_of(law: Law, theta: np.ndarray) -> dict[str, Any]:
    """Solver coordinates (…, p) as named constants: floats, or arrays for many."""
    with jax.enable_x64(True):
        natural = {k: np.asarray(v) for k, v in to_natural(law, theta).items()}
    return {k: float(v) if v.ndim == 0 else v for k, v in natural.items()}


def make_recipe(table: Table, problem: Problem, search: Search) -> Recipe:
    """Write down how the fit is made."""
    law, o = problem.law, problem.objective
    columns = {c: table.columns[role_of(law, c, table)] for c in law.columns}
    columns["loss"] = table.columns["loss"]
    columns |= {k: table.columns[k] for k in ("c", "weight") if table.has(k)}
    ranges = {
        k: (float(np.min(v)), float(np.max(v)))
        for k, v in {**problem.columns, "loss": problem.y}.items()
    }
    if table.has("c"):
        c = table.values("c")
        ranges["c"] = (float(c.min()), float(c.max()))
    return Recipe(
        source=table.source,
        columns=columns,
        convention=columns.get("n", ""),
        left_out=table.left_out,
        space=o.space,
        loss=o.loss,
        delta=o.delta,
        starts=search.starts,
        seed=search.seed,
        tolerance=search.tolerance,
        scale_range=ranges,
        flops_per_nd=flops_per_nd(table),
        versions={k: metadata.version(k) for k in ("jax", "numpy", "scipy", "pandas")},
    )


def flops_per_nd(table: Table) -> float:
    """k of C = k N D: the median of c / (n d); 6 where the table has no c, n or d."""
    if not all(table.has(k) for k in ("c", "n", "d")):
        return 6.0
    return float(np.median(table.values("c") / table.values("n") / table.values("d")))
