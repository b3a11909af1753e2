"""Draws for rows whose errors move together: the wild bootstrap of whole units.

New losses are drawn at the table's own scales: the fitted ones, with the residuals of
each run, trunk or group multiplied by one random number (wild cluster bootstrap:
Cameron, Gelbach & Miller 2008). Drawing the units themselves misses too often: a fit
that leans on the few units at the ends of the grid leaves residuals too small there,
and has fewer degrees of freedom than units. Both are made good as Bell & McCaffrey
2002 do for standard errors (CR2 and Satterthwaite's degrees of freedom).

It is a method for least squares. Losses close to absolute deviations read the density
of the residuals at zero, which the random numbers raise (Feng, He & Hu 2011).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import chi2

from analysis import solver
from analysis.problem import Problem

RANK = 1e-10  # singular values below this share of the largest are zero
SPENT = 1e-6  # share of a residual's variance below which the fit took it all


class Adjusted(NamedTuple):
    """Residuals of a fit as its errors may have been.

    Attributes:
        predicted: (rows,) fitted losses.
        residuals: (rows,) in the space of the objective, enlarged by CR2.
        unit: (rows,) index of each row's unit, from 0.
        freedom: degrees of freedom of the least known constant's variance.
    """

    predicted: np.ndarray
    residuals: np.ndarray
    unit: np.ndarray
    freedom: float


def adjust(problem: Problem, theta: np.ndarray, labels: np.ndarray) -> Adjusted:
    """Enlarge each unit's residuals by (I - H_gg)^(-1/2), H the hat matrix.

    That makes the variance of the constants unbiased when errors are independent, and
    nearly so when they agree within a unit (Bell & McCaffrey 2002; Pustejovsky &
    Tipton 2018, with pseudo-inverses).

    Args:
        problem: the regression; its objective's weights count as precisions.
        theta: (p,) the optimum, solver coordinates.
        labels: (rows,) the unit of each row.
    """
    log = problem.objective.space == "log"
    r, jac = solver.jacobian(problem.law, theta, problem.columns, problem.y, log)
    low, high = solver.bounds(problem.law)
    jac = jac[:, (theta > low) & (theta < high)]  # a constant on its bound stays there
    root = np.sqrt(problem.weights)
    left, singular, right = np.linalg.svd(jac * root[:, None], full_matrices=False)
    kept = singular > RANK * singular.max()
    left, pull = left[:, kept], (right[kept].T / singular[kept]) @ left[:, kept].T
    _, unit = np.unique(labels, return_inverse=True)
    enlarged = np.array(r)
    influence = np.zeros((len(pull), int(unit.max()) + 1, problem.rows))
    for g in range(influence.shape[1]):
        rows = np.flatnonzero((unit == g) & (root > 0))
        enlarge = _inverse_root(np.eye(len(rows)) - left[rows] @ left[rows].T)
        enlarged[rows] = enlarge @ (root[rows] * r[rows]) / root[rows]
        influence[:, g, rows] = pull[:, rows] @ enlarge
    influence -= (influence @ left) @ left.T  # of the errors, by way of the residuals
    return Adjusted(
        predicted=problem.y * np.exp(r) if log else problem.y + r,
        residuals=enlarged,
        unit=unit,
        freedom=float(min(_freedom(x) for x in influence)),
    )


def _inverse_root(matrix: np.ndarray) -> np.ndarray:
    """Symmetric inverse square root; directions that the fit has used up stay zero."""
    values, vectors = np.linalg.eigh(matrix)
    used_up = values < SPENT
    inverse = np.where(used_up, 0.0, np.where(used_up, 1.0, values) ** -0.5)
    return np.asarray((vectors * inverse) @ vectors.T)


def _freedom(influence: np.ndarray) -> float:
    """Degrees of freedom of sum_g (b_g · e)² for standard errors e (Satterthwaite).

    (tr K)² / tr K² with K_gh = b_g · b_h; `influence` holds the b_g (units, rows).
    """
    k = influence @ influence.T
    return float(np.trace(k) ** 2 / np.sum(k**2))


def wild_losses(
    fitted: Adjusted,
    replicas: int,
    rng: np.random.Generator,
    *,
    log: bool = True,
) -> np.ndarray:
    """Drawn losses (replicas, rows), nats.

    The spread of each draw is that of a Student's t with `freedom` degrees, as if the
    variance of the errors had been drawn as well; so percentiles of the refits need no
    correction.

    Args:
        fitted: the fit.
        replicas: number of draws.
        rng: of the draws; units and replicas of equal number get equal draws.
        log: residuals are of ln loss.
    """
    shape = (replicas, int(fitted.unit.max()) + 1)
    factor = rng.standard_normal(shape)
    # Evenly spread quantiles instead of random ones: less noise from the replicas.
    share = rng.permutation((np.arange(replicas) + 0.5) / replicas)
    factor *= np.sqrt(fitted.freedom / chi2.ppf(share, fitted.freedom))[:, None]
    error = factor[:, fitted.unit] * fitted.residuals
    return np.asarray(
        fitted.predicted * np.exp(error) if log else fitted.predicted + error
    )
