"""Fits a law to a table: robust, from many starts at once, with a certificate."""

from __future__ import annotations

from importlib import metadata
from typing import NamedTuple

import numpy as np

from analysis.fitting import lanes
from analysis.fitting.misfit import Residuals, misfits
from analysis.fitting.options import DEFAULT, FitOptions, Search
from analysis.fitting.problem import (
    Problem,
    collinear_columns,
    collinear_sum,
    complete,
    prepare,
    role_of,
)
from analysis.fitting.record import FLAG_MEANING, Diagnostics, Fit, Provenance
from analysis.fitting.search import Optimum, constants_of, find_optimum
from analysis.laws.arrays import Constants, FloatArray
from analysis.laws.base import Law
from analysis.laws.registry import get_law
from analysis.tables.table import Table

UNIDENTIFIABLE = 1e6
"""The condition number of the Jacobian above which constants can be exchanged."""
PLAUSIBLE, FEW = (1e-3, 1e6), 1000.0
"""FLOPs per parameter and token or example that a training can take (convolutions use
a weight very often), and the count below which no model or data set of a law is."""
NO_GAIN = 1e-8
"""The share of the objective that a step must bring to be missed: on rows that a law
meets exactly, rounding ends the steps before the solver's tolerance does."""
EXCHANGED = 1e3
"""The condition number above which columns that follow from each other matter."""
FEW_STARTS = 0.2
"""The share of starts at the best objective below which a search is doubtful."""


def condition_number(jac: FloatArray, weights: FloatArray) -> float:
    """The condition number of the weighted Jacobian with columns of unit length.

    Dimensionless, so that the units of the constants do not count: the scaled condition
    index of Belsley, Kuh & Welsch 1980.

    Args:
        jac: derivatives of the residuals by the constants, (rows, constants).
        weights: of the rows, (rows,).
    """
    scaled = jac * np.sqrt(weights)[:, None]
    norms = np.linalg.norm(scaled, axis=0)
    if not np.all(np.isfinite(norms)) or np.any(norms <= 1e-12 * norms.max()):
        return float("inf")
    return float(np.linalg.cond(scaled / norms))


def _warnings(
    problem: Problem,
    optimum: Optimum,
    starts: int,
    condition: float,
    bound: np.ndarray,
    gain: float,
) -> dict[str, str]:
    """The warnings of a fit: flag -> one sentence for a reader."""
    sentences = {}
    collinear = collinear_columns(problem)
    if not collinear and condition > EXCHANGED:
        collinear = collinear_sum(problem)
    if collinear:
        sentences["unidentifiable"] = (
            f"unidentifiable: {collinear}, so the rows cannot tell the constants apart "
            f"(condition number {condition:.2g}); vary their ratio"
        )
    elif condition > UNIDENTIFIABLE:
        sentences["unidentifiable"] = (
            f"unidentifiable: condition number {condition:.2g}; some constants can be "
            "exchanged for others without changing the predictions"
        )
    if bound.any():
        names = np.array(problem.law.parameter_names)[bound]
        sentences["at_bound"] = f"at bound: {', '.join(names)}"
    if optimum.share_at_best < FEW_STARTS:
        sentences["few_starts_agree"] = (
            f"only {optimum.share_at_best:.0%} of {starts} starts reached the best "
            "objective; raise the number of starts"
        )
    if not optimum.converged and gain > NO_GAIN * optimum.objective:
        sentences["not_converged"] = "the best start stopped before its tolerance"
    if problem.rows == len(problem.law.parameters):
        sentences["no_spare_rows"] = FLAG_MEANING["no_spare_rows"]
    return sentences


def _units(table: Table, problem: Problem) -> str | None:
    """The sentence on counts that cannot be of parameters, tokens and FLOPs."""
    if not {"n", "d"} <= set(problem.columns):
        return None
    k = flops_per_nd(table)
    if not PLAUSIBLE[0] <= k <= PLAUSIBLE[1]:
        return (
            f"c/(n d) is {k:.3g} FLOPs per parameter and token, where training takes "
            "6 or, with shared weights, some thousands: give all three in units of "
            "one, e.g. --n 'params_b * 1e9'"
        )
    small = [name for name in ("n", "d") if problem.columns[name].max() < FEW]
    if small and not table.has("c"):
        name = small[0]
        column = table.columns[role_of(problem.law, name, table)]
        return (
            f"{name} is at most {problem.columns[name].max():.3g}: if {column} counts "
            f"millions or billions, write --{name} '{column} * 1e9', or budgets in "
            "FLOPs mean nothing"
        )
    return None


def _gain(gradient: FloatArray, jac: FloatArray, weights: FloatArray) -> float:
    """The decrease that one more step would bring: gᵀM⁻¹g/2, see `newton`."""
    m = jac.T @ (jac * weights[:, None])
    free = gradient != 0
    if not free.any():
        return 0.0
    solution, *_ = np.linalg.lstsq(m[np.ix_(free, free)], gradient[free], rcond=None)
    return float(0.5 * gradient[free] @ solution)


def diagnose(
    table: Table, problem: Problem, optimum: Optimum, starts: int
) -> tuple[Diagnostics, FloatArray]:
    """The certificate of an optimum, and the residuals (rows,).

    Args:
        table: the rows.
        problem: the regression.
        optimum: its best point.
        starts: how many were tried.
    """
    o, w = problem.objective, problem.weights
    r, jac = lanes.jacobian(
        problem.law, optimum.theta, problem.columns, problem.y, o.log
    )
    slope = np.clip(r, -o.threshold, o.threshold)
    low, high = lanes.bounds(problem.law)
    bound = (optimum.theta <= low) | (optimum.theta >= high)
    gradient = np.where(bound, 0.0, jac.T @ (w * slope))
    condition = condition_number(jac, w)
    gain = _gain(gradient, jac, w * np.minimum(1, o.threshold / np.abs(r + 1e-300)))
    warnings = _warnings(problem, optimum, starts, condition, bound, gain)
    if strange := _units(table, problem):
        warnings["units"] = strange
    warnings |= misfits(Residuals(table, problem, optimum.theta, r, jac))
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


def derived_values(law: Law, constants: Constants) -> dict[str, FloatArray]:
    """The named quantities computed from the constants alone, e.g. a = β/(α+β)."""
    return {name: function(constants) for name, function in law.derived}


def fit_law(
    table: Table,
    law: Law | str = "chinchilla",
    options: FitOptions = DEFAULT,
    *,
    start_at: Constants | None = None,
) -> Fit:
    """The fit of a law to a table; `fit_with_intervals` also adds intervals.

    Args:
        table: rows and the columns of the law's roles.
        law: a registered name or a `Law`.
        options: objective and search.
        start_at: named constants to start from besides the drawn starts.

    Raises:
        AnalysisError: the table cannot be fitted with this law.
    """
    return fit_parts(table, law, options, start_at=start_at).fit


class Parts(NamedTuple):
    """A fit with what it was made from, for those who refit."""

    fit: Fit
    problem: Problem
    optimum: Optimum


@np.errstate(all="ignore")  # what is not finite is seen by its value, and flagged
def fit_parts(
    table: Table,
    law: Law | str,
    options: FitOptions = DEFAULT,
    *,
    start_at: Constants | None = None,
) -> Parts:
    """The fit of `fit_law`, together with its problem and optimum.

    Raises:
        AnalysisError: the table cannot be fitted with this law.
    """
    law = get_law(law) if isinstance(law, str) else law
    table = complete(table, law)
    problem = prepare(table, law, options.objective)
    optimum = find_optimum(problem, options.search, start_at)
    diagnostics, r = diagnose(table, problem, optimum, options.search.starts)
    constants = constants_of(problem.law, optimum.theta)
    derived = derived_values(problem.law, constants)
    fitted = Fit(
        law=problem.law.name,
        constants=constants,
        derived={k: float(v) for k, v in derived.items()},
        intervals={},
        objective=optimum.objective,
        diagnostics=diagnostics,
        provenance=provenance_of(table, problem, options.search),
        residuals=tuple(float(x) for x in r),
    )
    return Parts(fitted, problem, optimum)


def provenance_of(table: Table, problem: Problem, search: Search) -> Provenance:
    """The record of where a fit's rows come from and how it is made."""
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
    return Provenance(
        source=table.source,
        columns=columns,
        convention=columns.get("n", ""),
        left_out=table.left_out,
        notes=table.notes,
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
    """The k of C = k N D, FLOPs per parameter and token: the median of c / (n d).

    6, as Kaplan et al. 2020 count, where the table has no c, n or d.
    """
    if not all(table.has(k) for k in ("c", "n", "d")):
        return 6.0
    return float(np.median(table.values("c") / table.values("n") / table.values("d")))
