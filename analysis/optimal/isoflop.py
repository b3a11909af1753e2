"""Approach 2: isoFLOP curves (Hoffmann et al. 2022, sec. 3.2).

At each compute budget the loss is a parabola in ln n; N* and D* are at its minimum, and
a power law of C goes through the minima.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import block_diag

from analysis.laws.arrays import FloatArray
from analysis.optimal.parabolas import (
    LEAST_SIZES,
    Parabola,
    budgets,
    fit_parabolas,
    pooled_noise,
    quadratic,
)
from analysis.tables.columns import BUDGET_COLUMN
from analysis.tables.table import Table
from analysis.uncertainty.draws import bootstrap_draws
from analysis.uncertainty.intervals import interval, tail_of
from analysis.uncertainty.units import BY_ROW, Bootstrap, Units, units_of
from analysis.uncertainty.wild import SPENT, Errors, linear_errors

Minimum = Callable[[FloatArray, FloatArray, FloatArray], FloatArray]
"""`(ln n, weights, losses) -> ln N*` of one budget: (rows,), (replicas, rows) twice ->
(replicas,), NaN where a replica has no minimum."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PowerOfCompute:
    """The power law of a quantity: coefficient · C^exponent, fitted in logs.

    Attributes:
        exponent, coefficient: of the least-squares line through the logarithms.
        interval: of the exponent; NaN when there are too few points.
        points: number of minima used.
    """

    exponent: float
    coefficient: float
    interval: tuple[float, float]
    points: int

    def at(self, compute: np.ndarray) -> np.ndarray:
        """The quantity at budgets C (FLOPs)."""
        return np.asarray(self.coefficient * np.asarray(compute) ** self.exponent)


@dataclass(frozen=True, kw_only=True, slots=True)
class IsoFlop:
    """The parabolas along each budget, and the power laws through their minima.

    Attributes:
        parabolas: one per budget, cheapest first.
        n_star, d_star: N*(C) and D*(C) through the minima that are not at an edge;
            None with fewer than two of them.
        noise: pooled residual standard deviation of the parabolas (nats).
        notes: what a reader must know.
    """

    parabolas: tuple[Parabola, ...]
    n_star: PowerOfCompute | None
    d_star: PowerOfCompute | None
    noise: float
    notes: tuple[str, ...]


def isoflop(
    table: Table, *, budget: str | None = None, bootstrap: Bootstrap = BY_ROW
) -> IsoFlop:
    """The parabola in ln n along each budget, and N*, D* against C.

    Args:
        table: rows with roles n, d, c and loss.
        budget: column of the nominal budget (FLOPs); None groups rows whose C agree.
        bootstrap: of the intervals of the exponents.

    Raises:
        AnalysisError: no budget has three sizes, or the table does not know the units
            of the bootstrap.
    """
    parabolas = fit_parabolas(table, budget)
    notes = [f"C = {p.compute:.3g} FLOPs: {p.edge}" for p in parabolas if p.edge]
    unused = len(np.unique(budgets(table, budget))) - len(parabolas)
    if unused:
        notes.append(f"{unused} budgets have fewer than three sizes and are not used")
    inside = [p for p in parabolas if not p.edge]
    noise = pooled_noise(parabolas)
    n_star = d_star = None
    if len(inside) >= 2:
        draws = minimum_draws(table, inside, noise, _vertices, bootstrap)
        tail = tail_of(units_of(table, bootstrap.kind), bootstrap.level)
        compute = [p.compute for p in inside]
        # On a budget N* and D* vary together: their product stays where it is.
        d_draws = np.log([p.d_star * p.n_star for p in inside]) - draws
        n_star = power_of_compute(compute, [p.n_star for p in inside], draws, tail)
        d_star = power_of_compute(compute, [p.d_star for p in inside], d_draws, tail)
    else:
        notes.append(
            f"{len(inside)} minima lie inside their grid: two are needed for an "
            "exponent"
        )
    return IsoFlop(
        parabolas=parabolas,
        n_star=n_star,
        d_star=d_star,
        noise=noise,
        notes=tuple(notes),
    )


def nominal_budget(table: Table) -> str | None:
    """The column of nominal budgets, or None where a row has none."""
    frame = table.frame
    known = BUDGET_COLUMN in frame.columns and bool(frame[BUDGET_COLUMN].notna().all())
    return BUDGET_COLUMN if known else None


def minimum_draws(
    table: Table,
    parabolas: Sequence[Parabola],
    noise: float,
    minimum: Minimum,
    bootstrap: Bootstrap,
    *,
    around_losses: bool = False,
) -> FloatArray:
    """The bootstrap's ln N* (replicas, budgets), by any estimator of a minimum.

    Args:
        table: the rows.
        parabolas: of the budgets; the residuals that are drawn are theirs.
        noise: their pooled residual standard deviation (nats), which stands in where a
            parabola goes through its rows exactly; without one nothing can be drawn.
        minimum: the estimator.
        bootstrap: units, number and seed of the draws.
        around_losses: residuals are added to the measured losses, for an estimator
            that takes no parabola to be true, instead of to the parabolas.
    """
    if not np.isfinite(noise):
        return np.full((bootstrap.replicas, len(parabolas)), np.nan)
    rows = np.concatenate([p.rows for p in parabolas])
    losses = np.concatenate([p.loss for p in parabolas])
    units = _units_at(units_of(table, bootstrap.kind), rows)
    errors = _errors(parabolas, losses, noise, units)
    if around_losses:
        errors = errors._replace(predicted=losses)
    ends = np.cumsum([len(p.rows) for p in parabolas])[:-1]

    def estimate(weights: FloatArray, drawn: FloatArray) -> FloatArray:
        curves = zip(
            parabolas,
            np.split(weights, ends, axis=1),
            np.split(drawn, ends, axis=1),
            strict=True,
        )
        return np.stack([minimum(np.log(p.n), w, y) for p, w, y in curves], axis=1)

    return bootstrap_draws(estimate, losses, units, bootstrap, errors)


def power_of_compute(
    compute: Sequence[float], values: Sequence[float], draws: FloatArray, tail: float
) -> PowerOfCompute:
    """The power law through values at some budgets.

    Args:
        compute: C in FLOPs.
        values: of the quantity there.
        draws: (replicas, budgets) of its logarithm.
        tail: share of the draws that the interval cuts off on either side.
    """
    slope, intercept = np.polyfit(np.log(compute), np.log(values), 1)
    return PowerOfCompute(
        exponent=float(slope),
        coefficient=float(np.exp(intercept)),
        interval=interval(draws @ _levers(compute), tail),
        points=len(compute),
    )


def _levers(compute: Sequence[float]) -> FloatArray:
    """The weights (budgets,) whose sum over ln values is their slope against ln C."""
    centred = np.log(compute) - np.log(compute).mean()
    return np.asarray(centred / (centred @ centred))


def _units_at(units: Units, rows: np.ndarray) -> Units:
    """The units of some rows, in the order of those."""
    strata = None if units.strata is None else units.strata[rows]
    return replace(units, labels=units.labels[rows], strata=strata)


def _errors(
    parabolas: Sequence[Parabola], losses: FloatArray, noise: float, units: Units
) -> Errors:
    """The errors of all parabolas together, as far as the exponent of N* feels them."""
    design = block_diag(*(quadratic(np.log(p.n) - p.centre) for p in parabolas))
    gradient = []
    for p, lever in zip(
        parabolas, _levers([p.compute for p in parabolas]), strict=True
    ):
        _, p1, p2 = p.coefficients
        gradient += [0.0, -lever / (2 * p2), lever * p1 / (2 * p2**2)]
    errors = linear_errors(design, losses, units, np.array([gradient]))
    leverage = np.sum(np.linalg.qr(design)[0] ** 2, axis=1)
    return errors._replace(
        residuals=np.where(leverage > 1 - SPENT, noise, errors.residuals)
    )


def _vertices(log_n: FloatArray, weights: FloatArray, losses: FloatArray) -> FloatArray:
    """The minima (replicas,) of weighted parabolas: a `Minimum`."""
    centre = log_n.mean()
    x = quadratic(log_n - centre)
    normal = np.einsum("rk,ki,kj->rij", weights, x, x)
    moment = np.einsum("rk,rk,ki->ri", weights, losses, x)
    drawn = [np.any(weights[:, log_n == size] > 0, axis=1) for size in np.unique(log_n)]
    few = np.sum(drawn, axis=0) < LEAST_SIZES
    normal[few] = np.eye(3)
    _, p1, p2 = np.linalg.solve(normal, moment[..., None])[..., 0].T
    bends_up = ~few & (p2 > 0)
    # A draw that bends downwards has no minimum: NaN, left out of the quantiles.
    return np.asarray(centre - p1 / (2 * np.where(bends_up, p2, np.nan)))
