"""The wild bootstrap: new losses from a fit's residuals, each with a random factor.

New losses are drawn at the table's own scales: the fitted ones, with the residuals of
each unit (a row, run, trunk or group) multiplied by one random number, so that neither
what rows of one unit share nor noise that differs between units is lost (Cameron,
Gelbach & Miller 2008). Residuals are too small where the fit leans on few units, and
there are fewer degrees of freedom than units; both are made good.

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
from scipy.stats import chi2, norm

from analysis.fitting import lanes
from analysis.fitting.problem import Objective, Problem
from analysis.fitting.search import ABSOLUTE_DELTAS

RANK = 1e-10  # singular values below this share of the largest are zero
SPENT = 1e-6  # share of a residual's variance below which the fit took it all


class Adjusted(NamedTuple):
    """Residuals of a fit as its errors may have been.

    Attributes:
        predicted: (rows,) fitted losses.
        residuals: (rows,) in the space of the objective, enlarged.
        unit: (rows,) index of each row's unit, from 0.
        freedom: degrees of freedom of the least known constant's variance.
        squares: the objective is as good as least squares.
        log: residuals are of ln loss.
    """

    predicted: np.ndarray
    residuals: np.ndarray
    unit: np.ndarray
    freedom: float
    squares: bool
    log: bool


def adjust(problem: Problem, theta: np.ndarray, labels: np.ndarray) -> Adjusted:
    """Enlarge each unit's residuals by what the fit took of its errors.

    With H the hat matrix: least squares by (I - H_gg)^(-1/2), which makes the variance
    of the constants unbiased when errors are independent, and nearly so when they agree
    within a unit (Bell & McCaffrey 2002; Pustejovsky & Tipton 2018, with
    pseudo-inverses). Robust losses by H_gg ψ(r_g) / mean ψ', the move of the fit at
    these rows when the unit is left out, to first order (of one row: Feng, He & Hu
    2011, §2).

    Args:
        problem: the regression; its objective's weights count as precisions.
        theta: (p,) the optimum, solver coordinates.
        labels: (rows,) the unit of each row.
    """
    log = problem.objective.space == "log"
    r, jac = lanes.jacobian(problem.law, theta, problem.columns, problem.y, log)
    squares = problem.objective.near_squares(r)
    low, high = lanes.bounds(problem.law)
    jac = jac[:, (theta > low) & (theta < high)]  # a constant on its bound stays there
    root = np.sqrt(problem.weights)
    left, singular, right = np.linalg.svd(jac * root[:, None], full_matrices=False)
    kept = singular > RANK * singular.max()
    left, pull = left[:, kept], (right[kept].T / singular[kept]) @ left[:, kept].T
    _, unit = np.unique(labels, return_inverse=True)
    moved = np.zeros_like(r) if squares else _moved(r, problem)
    enlarged = np.array(r)
    influence = np.zeros((len(pull), int(unit.max()) + 1, problem.rows))
    for g in range(influence.shape[1]):
        rows = np.flatnonzero((unit == g) & (root > 0))
        hat = left[rows] @ left[rows].T
        enlarge = _inverse_root(np.eye(len(rows)) - hat)
        if squares:
            enlarged[rows] = enlarge @ (root[rows] * r[rows]) / root[rows]
        else:
            enlarged[rows] += hat @ (root[rows] * moved[rows]) / root[rows]
        influence[:, g, rows] = pull[:, rows] @ enlarge
    influence -= (influence @ left) @ left.T  # of the errors, by way of the residuals
    return Adjusted(
        predicted=problem.y * np.exp(r) if log else problem.y + r,
        residuals=enlarged,
        unit=unit,
        freedom=float(min(_freedom(x) for x in influence)),
        squares=squares,
        log=log,
    )


def _moved(r: np.ndarray, problem: Problem) -> np.ndarray:
    """ψ(r) / mean ψ' (rows,): residuals of the least squares step that each row asks.

    ψ is the derivative of the Huber loss over δ. Its mean slope is the density of the
    residuals within δ of the middle, or within a wider window where those are too few
    to tell: Hall & Sheather 1988's for the density at a median.
    """
    delta = _delta(problem.objective)
    used = problem.weights > 0
    share = min(_half_window(int(used.sum())), 0.45)
    low, high = np.quantile(r[used], [0.5 - share, 0.5 + share])
    reach = max(delta, (high - low) / 2)
    within = np.abs(r - (low + high) / 2) <= reach
    slope = np.average(within, weights=problem.weights) / reach
    return np.asarray(np.clip(r / delta, -1, 1) / slope)


def _delta(objective: Objective) -> float:
    return objective.delta if objective.loss == "huber" else ABSOLUTE_DELTAS[-1]


def _half_window(rows: int) -> float:
    """Hall & Sheather 1988: share of normal residuals on each side of the median from
    which the density there is read, for 95 % intervals."""
    z = float(norm.isf(0.025))
    return float((1.5 * z**2 * norm.pdf(0) ** 2 / rows) ** (1 / 3))


def _inverse_root(matrix: np.ndarray) -> np.ndarray:
    """Symmetric inverse square root; directions that the fit has used up stay zero."""
    values, vectors = np.linalg.eigh(matrix)
    used_up = values < SPENT
    inverse = np.where(used_up, 0.0, np.where(used_up, 1.0, values) ** -0.5)
    return np.asarray((vectors * inverse) @ vectors.T)


def _freedom(influence: np.ndarray) -> float:
    """Degrees of freedom of sum_g (b_g · e)² for standard errors e (Satterthwaite).

    (tr K)² / tr K² with K_gh = b_g · b_h; `influence` holds the b_g (units, rows). One,
    the least there is, where the fit took every error.
    """
    k = influence @ influence.T
    return float(np.trace(k) ** 2 / np.sum(k**2)) if k.any() else 1.0


def wild_losses(
    fitted: Adjusted, replicas: int, rng: np.random.Generator
) -> np.ndarray:
    """Drawn losses (replicas, rows), nats.

    The spread of each draw is that of a Student's t with `freedom` degrees, as if the
    variance of the errors had been drawn as well; so percentiles of the refits need no
    correction.

    Args:
        fitted: the fit.
        replicas: number of draws.
        rng: of the draws; units and replicas of equal number get equal draws.
    """
    shape = (replicas, int(fitted.unit.max()) + 1)
    factor = rng.standard_normal(shape)
    factor = factor if fitted.squares else np.sign(factor)
    # Evenly spread quantiles instead of random ones: less noise from the replicas.
    share = rng.permutation((np.arange(replicas) + 0.5) / replicas)
    factor *= np.sqrt(fitted.freedom / chi2.ppf(share, fitted.freedom))[:, None]
    error = factor[:, fitted.unit] * fitted.residuals
    return np.asarray(
        fitted.predicted * np.exp(error) if fitted.log else fitted.predicted + error
    )
