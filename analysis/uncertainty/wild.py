"""The wild bootstrap: new losses from a fit's residuals, each with a random factor.

New losses are drawn at the table's own scales: the fitted ones, with the residuals of
each unit (a row, run, trunk or group) multiplied by one random number, so that neither
what rows of one unit share nor noise that differs between units is lost (Cameron,
Gelbach & Miller 2008). Residuals are too small where the fit leans on few units, and
there are fewer degrees of freedom than units; `Errors` make both good.

Under least squares, residuals are enlarged as Bell & McCaffrey 2002 do for standard
errors (CR2 and Satterthwaite's degrees of freedom) and the numbers are normal.

Losses close to absolute deviations read the density of the residuals about zero. Draws
by weights leave it ragged, and normal factors heap it up. Random signs keep it, once
each residual has been enlarged by what the fit moved towards its row (Feng, He & Hu
2011).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special

from analysis.fitting import lanes
from analysis.fitting.problem import Problem
from analysis.laws.arrays import FloatArray
from analysis.uncertainty.units import Units

RANK = 1e-10
"""The share of the largest singular value below which one is zero."""
SPENT = 1e-6
"""The share of a residual's variance below which the fit took it all."""


class Errors(NamedTuple):
    """The errors of a regression as they may have been, to be drawn anew.

    Attributes:
        predicted: (rows,) fitted losses.
        residuals: (rows,) in the space of the objective, enlarged.
        unit: (rows,) index of each row's unit, from 0.
        freedom: degrees of freedom of the least known quantity's variance.
        squares: the objective is as good as least squares.
        log: residuals are of ln loss.
    """

    predicted: FloatArray
    residuals: FloatArray
    unit: np.ndarray
    freedom: float
    squares: bool
    log: bool


def law_errors(problem: Problem, theta: FloatArray, units: Units) -> Errors:
    """The errors of a fitted law, enlarged by what the fit took of each unit's.

    With H the hat matrix: least squares by (I - H_gg)^(-1/2), which makes the variance
    of the constants unbiased when errors are independent, and nearly so when they agree
    within a unit (Bell & McCaffrey 2002; Pustejovsky & Tipton 2018, with
    pseudo-inverses). Robust losses by H_gg ψ(r_g) / mean ψ', the move of the fit at
    these rows when the unit is left out, to first order (of one row: Feng, He & Hu
    2011, §2).

    Args:
        problem: the regression; its objective's weights count as precisions.
        theta: (p,) the optimum, solver coordinates.
        units: what is drawn.
    """
    log = problem.objective.log
    r, jac = lanes.jacobian(problem.law, theta, problem.columns, problem.y, log)
    squares = problem.objective.near_squares(r)
    low, high = lanes.bounds(problem.law)
    free = (theta > low) & (theta < high)  # a constant on its bound stays there
    moved = None if squares else _moved(r, problem)
    enlarged, unit, freedom = _enlarge(r, jac[:, free], problem.weights, units, moved)
    return Errors(
        predicted=problem.y * np.exp(r) if log else problem.y + r,
        residuals=enlarged,
        unit=unit,
        freedom=freedom,
        squares=squares,
        log=log,
    )


def linear_errors(
    design: FloatArray,
    losses: FloatArray,
    units: Units,
    targets: FloatArray | None = None,
) -> Errors:
    """The errors of a linear least-squares fit of the losses, enlarged likewise.

    Args:
        design: (rows, constants).
        losses: (rows,) nats.
        units: what is drawn.
        targets: (quantities, constants) gradients of the quantities whose intervals
            are asked for: the degrees of freedom are theirs. Each constant when None;
            constants that few rows know, as those of one curve among many, would make
            the intervals of a quantity of all curves too wide.
    """
    predicted = design @ np.linalg.lstsq(design, losses, rcond=None)[0]
    enlarged, unit, freedom = _enlarge(
        predicted - losses, design, np.ones(len(losses)), units, None, targets
    )
    return Errors(
        predicted=predicted,
        residuals=enlarged,
        unit=unit,
        freedom=freedom,
        squares=True,
        log=False,
    )


def _enlarge(
    r: FloatArray,
    jac: FloatArray,
    weights: FloatArray,
    units: Units,
    moved: FloatArray | None,
    targets: FloatArray | None = None,
) -> tuple[FloatArray, np.ndarray, float]:
    """Enlarged residuals (rows,), the index of each row's unit, degrees of freedom.

    `moved` are those of `_moved` for a robust loss, None for least squares.
    """
    root = np.sqrt(weights)
    left, singular, right = np.linalg.svd(jac * root[:, None], full_matrices=False)
    used = singular > RANK * singular.max()
    left, pull = left[:, used], (right[used].T / singular[used]) @ left[:, used].T
    pull = pull if targets is None else targets @ pull
    _, unit = np.unique(units.labels, return_inverse=True)
    enlarged = np.array(r)
    influence = np.zeros((len(pull), int(unit.max()) + 1, len(r)))
    for g in range(influence.shape[1]):
        rows = np.flatnonzero((unit == g) & (root > 0))
        hat = left[rows] @ left[rows].T
        enlarge = _inverse_root(np.eye(len(rows)) - hat)
        if moved is None:
            enlarged[rows] = enlarge @ (root[rows] * r[rows]) / root[rows]
        else:
            enlarged[rows] += hat @ (root[rows] * moved[rows]) / root[rows]
        influence[:, g, rows] = pull[:, rows] @ enlarge
    influence -= (influence @ left) @ left.T  # of the errors, by way of the residuals
    return enlarged, unit, float(min(_freedom(x) for x in influence))


def _moved(r: FloatArray, problem: Problem) -> FloatArray:
    """Residuals (rows,) of the least squares step that each row asks: ψ(r) / mean ψ'.

    ψ is the derivative of the Huber loss over δ. Its mean slope is the density of the
    residuals within δ of the middle, or within a wider window where those are too few
    to tell: Hall & Sheather 1988's for the density at a median.
    """
    delta = problem.objective.threshold
    used = problem.weights > 0
    share = min(_half_window(int(used.sum())), 0.45)
    low, high = np.quantile(r[used], [0.5 - share, 0.5 + share])
    reach = max(delta, (high - low) / 2)
    within = np.abs(r - (low + high) / 2) <= reach
    slope = np.average(within, weights=problem.weights) / reach
    return np.asarray(np.clip(r / delta, -1, 1) / slope)


def _half_window(rows: int) -> float:
    """The share of residuals on each side of the median that tell the density there.

    Of normal residuals, for 95 % intervals: Hall & Sheather 1988.
    """
    z = float(special.ndtri(0.975))
    return float((1.5 * z**2 / (2 * np.pi) / rows) ** (1 / 3))


def _inverse_root(matrix: FloatArray) -> FloatArray:
    """The symmetric inverse square root; directions that are used up stay zero."""
    values, vectors = np.linalg.eigh(matrix)
    used_up = values < SPENT
    inverse = np.where(used_up, 0.0, np.where(used_up, 1.0, values) ** -0.5)
    return np.asarray((vectors * inverse) @ vectors.T)


def _freedom(influence: FloatArray) -> float:
    """Degrees of freedom of sum_g (b_g · e)² for standard errors e (Satterthwaite).

    (tr K)² / tr K² with K_gh = b_g · b_h; `influence` holds the b_g (units, rows). One,
    the least there is, where the fit took every error.
    """
    k = influence @ influence.T
    return float(np.trace(k) ** 2 / np.sum(k**2)) if k.any() else 1.0


def wild_losses(errors: Errors, replicas: int, rng: np.random.Generator) -> FloatArray:
    """Losses (replicas, rows) drawn from the errors of a regression, nats.

    The spread of each draw is that of a Student's t with `freedom` degrees, as if the
    variance of the errors had been drawn as well; so percentiles of the refits need no
    correction.

    Args:
        errors: of the regression.
        replicas: number of draws.
        rng: of the draws; units and replicas of equal number get equal draws.
    """
    shape = (replicas, int(errors.unit.max()) + 1)
    factor = rng.standard_normal(shape)
    factor = factor if errors.squares else np.sign(factor)
    # Evenly spread quantiles instead of random ones: less noise from the replicas.
    share = rng.permutation((np.arange(replicas) + 0.5) / replicas)
    chi_squared = 2 * special.gammaincinv(errors.freedom / 2, share)
    factor *= np.sqrt(errors.freedom / chi_squared)[:, None]
    moved = factor[:, errors.unit] * errors.residuals
    return np.asarray(
        errors.predicted * np.exp(moved) if errors.log else errors.predicted + moved
    )
