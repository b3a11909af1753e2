"""The runs to add to a table, so that a law fitted to it is known best.

Local optimal design (Chernoff 1953; Atkinson, Donev & Tobias 2007, ch. 17): near the
fitted constants θ the variance of a target t(θ) is σ² gᵀ (JᵀJ)⁻¹ g, with J the Jacobian
of the rows' residuals and g the gradient of t. A further run adds the outer product of
its own row of J; the runs chosen are those that shrink the variance most for their
price.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from analysis.errors import AnalysisError
from analysis.fitting import lanes
from analysis.fitting.fit import fit_parts
from analysis.fitting.options import DEFAULT, FitOptions
from analysis.fitting.problem import Problem, collinear_columns
from analysis.laws.arrays import FloatArray
from analysis.laws.base import Law
from analysis.laws.registry import get_law
from analysis.selection.target import Target, target_gradient
from analysis.tables.table import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A run that could be made.

    Attributes:
        n, d: parameters, tokens.
        price: training FLOPs.
    """

    n: float
    d: float
    price: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Suggestion:
    """The runs to make next.

    Attributes:
        runs: the chosen candidates, in order of gain for their price.
        spent: their price together (FLOPs).
        error_before, error_after: standard error of the target, without and with them.
        notes: what a reader must know about the present design.
    """

    runs: tuple[Candidate, ...]
    spent: float
    error_before: float
    error_after: float
    notes: tuple[str, ...]


BEYOND = 4.0
"""The factor by which a candidate may lie outside the table's range."""
THRIFT = (1.0, 0.5, 0.0)
"""The powers of its price that a run's gain is divided by: from gain for the price to
gain alone."""


def candidate_grid(
    table: Table, budget: float, flops_per_nd: float, points: int = 14
) -> tuple[Candidate, ...]:
    """The runs up to `BEYOND` times outside the table's range that a budget can pay.

    That holds for sizes, tokens, and tokens per parameter; no run is smaller, shorter
    or cheaper than the table's: far outside, a gain would rest on the law's form alone.

    Args:
        table: the runs made so far.
        budget: FLOPs to spend.
        flops_per_nd: k of C = k n d.
        points: of each axis, geometrically spaced.
    """
    n, d = table.values("n"), table.values("d")
    sizes = np.geomspace(n.min(), BEYOND * n.max(), points)
    tokens = np.geomspace(d.min(), BEYOND * d.max(), points)
    grid = ((float(a), float(b)) for a in sizes for b in tokens)
    runs = (Candidate(n=a, d=b, price=flops_per_nd * a * b) for a, b in grid)
    ratio, cheapest = d / n, flops_per_nd * float((n * d).min())
    least, most = 0.99 * ratio.min() / BEYOND, 1.01 * ratio.max() * BEYOND
    return tuple(
        r
        for r in runs
        if 0.99 * cheapest <= r.price <= budget and least <= r.d / r.n <= most
    )


@np.errstate(all="ignore")
def suggest(
    table: Table,
    *,
    budget: float,
    target: Target,
    law: Law | str = "chinchilla",
    candidates: Sequence[Candidate] | None = None,
    most_runs: int = 40,
    repeats: int = 2,
    options: FitOptions = DEFAULT,
) -> Suggestion:
    """The runs that most shrink the error of the target for a budget.

    Greedy choices are made by gain for the price, by gain alone and in between; the
    best of them is taken.

    Args:
        table: the runs made so far, with n, d, loss (and c for the price of a run).
        budget: FLOPs to spend.
        target: what to pin down.
        law: reads n and d.
        candidates: runs to choose among; `candidate_grid` when None.
        most_runs: the greatest number of runs.
        repeats: how often one candidate may be chosen (each with its own seed). Many
            repeats of cheap runs look good only as long as the law holds exactly.
        options: as for `fit_law`.

    Raises:
        AnalysisError: the table cannot be fitted, or the budget pays no candidate.
    """
    law = get_law(law) if isinstance(law, str) else law
    parts = fit_parts(table, law, options)
    k = parts.fit.provenance.flops_per_nd
    pool = candidates if candidates is not None else candidate_grid(table, budget, k)
    pool = [x for x in pool if x.price <= budget]
    if not pool:
        raise AnalysisError(f"no candidate run costs at most {budget:g} FLOPs")
    design = _Design(
        information=_information(parts.problem, parts.optimum.theta),
        rows=_rows(law, parts.optimum.theta, pool),
        prices=np.array([x.price for x in pool]),
        gradient=target_gradient(law, parts.optimum.theta, target, k),
    )
    choices = [_greedy(design, power, budget, most_runs, repeats) for power in THRIFT]
    best = min(choices, key=lambda choice: choice.variance)
    chosen = tuple(pool[i] for i in best.rows)
    sigma = float(np.sqrt(np.mean(np.square(parts.fit.residuals))))
    sigma *= np.sqrt(len(table) / max(1, len(table) - len(law.parameters)))
    return Suggestion(
        runs=chosen,
        spent=float(sum(x.price for x in chosen)),
        error_before=sigma * float(np.sqrt(design.variance())),
        error_after=sigma * float(np.sqrt(best.variance)),
        notes=_notes(parts.problem, parts.fit.diagnostics.notes, table, target),
    )


class _Design(NamedTuple):
    """The present runs, the candidates and the target, near the fitted constants.

    Attributes:
        information: (p, p) JᵀWJ of the present rows.
        rows: (candidates, p) their rows of J.
        prices: (candidates,) FLOPs.
        gradient: (p,) of the target.
    """

    information: FloatArray
    rows: FloatArray
    prices: FloatArray
    gradient: FloatArray

    def variance(self) -> float:
        """The target's variance with the present rows, in units of σ²."""
        return float(self.gradient @ np.linalg.solve(self.information, self.gradient))


class _Choice(NamedTuple):
    """The candidates that were chosen, and the variance (σ²) that they leave."""

    rows: list[int]
    variance: float


def _rows(law: Law, theta: np.ndarray, pool: Sequence[Candidate]) -> np.ndarray:
    """The Jacobian (candidates, p) of ln loss."""
    columns = {
        "n": np.array([x.n for x in pool]),
        "d": np.array([x.d for x in pool]),
    }
    missing = set(law.columns) - set(columns)
    if missing:
        raise AnalysisError(f"{law.name} reads {', '.join(missing)}: cannot suggest")
    return lanes.jacobian(law, theta, columns, np.ones(len(pool)), True)[1]


def _information(problem: Problem, theta: np.ndarray) -> np.ndarray:
    """The information JᵀWJ of the present rows; a trace of a ridge keeps it regular."""
    jac = lanes.jacobian(problem.law, theta, problem.columns, problem.y, True)[1]
    information = (jac.T * problem.weights) @ jac
    ridge = 1e-9 * np.diag(np.diag(information))
    return np.asarray(information + ridge)


def _greedy(
    design: _Design, power: float, budget: float, most_runs: int, repeats: int
) -> _Choice:
    """The choice that adds the run with the greatest gain / price^power while it can.

    Adding row x turns the inverse V into V - Vx xᵀV / (1 + xᵀVx) (Sherman & Morrison
    1950), so the variance gᵀVg falls by (gᵀVx)² / (1 + xᵀVx).
    """
    _, rows, prices, gradient = design
    try:
        inverse = np.linalg.inv(design.information)
    except np.linalg.LinAlgError:
        raise AnalysisError(
            "the rows cannot tell the constants apart, so that no run can be judged by "
            "what it would tell; vary n and d independently first"
        ) from None
    chosen: list[int] = []
    uses = np.zeros(len(rows), int)
    while len(chosen) < most_runs:
        pulled = rows @ inverse
        spread = 1 + np.einsum("ij,ij->i", pulled, rows)
        gain = (pulled @ gradient) ** 2 / spread / prices**power
        gain = np.where((prices <= budget) & (uses < repeats), gain, -np.inf)
        best = int(np.argmax(gain))
        if not np.isfinite(gain[best]):
            break
        chosen.append(best)
        uses[best] += 1
        inverse = inverse - np.outer(pulled[best], pulled[best]) / spread[best]
        budget -= prices[best]
    return _Choice(chosen, float(gradient @ inverse @ gradient))


def _notes(
    problem: Problem, fit_notes: Sequence[str], table: Table, target: Target
) -> tuple[str, ...]:
    """The weaknesses of the runs made so far, one sentence each.

    Args:
        problem: the regression.
        fit_notes: of its certificate, passed on.
        table: the rows.
        target: its C (FLOPs) is compared with the greatest one of the table.
    """
    notes = list(fit_notes)
    if collinear_columns(problem) is None and {"n", "d"} <= set(problem.columns):
        ratio = problem.columns["d"] / problem.columns["n"]
        if ratio.max() / ratio.min() < 4:
            notes.append(
                f"tokens per parameter vary only {ratio.max() / ratio.min():.2g}-fold: "
                "spread them to separate the two exponents"
            )
    if table.has("c"):
        reach = target.compute / float(table.values("c").max())
        if reach > 100:
            notes.append(
                f"the target is {reach:.3g} times the largest budget: the law's form, "
                "not its constants, will decide the error"
            )
    return tuple(dict.fromkeys(notes))
