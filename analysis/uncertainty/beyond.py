"""How wrong a law becomes beyond the rows it is fitted to, measured on these rows.

A bootstrap knows the noise of the runs, not that the law is a little wrong, which costs
the more the further it reaches. So the law is fitted below each of some cutoffs of the
scale and asked above it (a roll-out): its squared error of ln loss there is that of the
noise and of a part that grows as the logarithm of the distance. Measured over laws that
are bent in several ways: `tests/analysis/uncertainty/test_beyond.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from analysis.fitting.options import Search
from analysis.fitting.problem import Problem
from analysis.fitting.search import constants_of, minimise
from analysis.laws.arrays import FloatArray
from analysis.laws.grouped import KIND

CUTOFFS = 8
"""The most cutoffs that are tried."""
LEAST_CUTOFFS, LEAST_ROWS = 2, 3
"""The cutoffs, and the rows below one beyond the constants, without which nothing is
known."""
LEAST_BUDGETS, LEAST_RANGE = 3, 4.0
"""The budgets below a cutoff, and the range of their scales."""
SAME_SCALE = 1.05
"""Scales within this factor are one nominal budget."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Beyond:
    """The growth of a law's error beyond its rows.

    Attributes:
        most: the greatest scale of the rows.
        slope: the error of ln loss (rms) at e times that scale; NaN if not known.
        cutoffs: how many roll-outs it rests on.
    """

    most: float
    slope: float
    cutoffs: int

    def error(self, scale: FloatArray) -> FloatArray:
        """The error of ln loss (rms) at some scales; 0 within the rows, or unknown."""
        if not np.isfinite(self.slope):
            return np.zeros(np.shape(scale))
        with np.errstate(divide="ignore", invalid="ignore"):
            further = np.log(np.asarray(scale) / self.most)
        return np.asarray(self.slope * np.maximum(further, 0.0))


def scale_of(columns: Mapping[str, FloatArray], k: float) -> FloatArray | None:
    """The scale of rows: k n d, or the one column of a law; None for other laws.

    Args:
        columns: of the law.
        k: FLOPs per parameter and token.
    """
    if {"n", "d"} <= set(columns):
        return np.asarray(k * columns["n"] * columns["d"])
    names = [name for name in columns if name != KIND]
    return np.asarray(columns[names[0]]) if len(names) == 1 else None


def roll_out(
    problem: Problem, theta: FloatArray, search: Search, k: float
) -> Beyond | None:
    """The growth of the error of a law, from fits below cutoffs of its rows.

    None for a law without one scale.

    Args:
        problem: the regression.
        theta: (p,) its optimum, solver coordinates.
        search: tolerance of the refits.
        k: FLOPs per parameter and token.
    """
    scale = scale_of(problem.columns, k)
    if scale is None or not np.all(scale > 0):
        return None
    most = float(scale.max())
    used = problem.weights > 0
    cutoffs = _cutoffs(scale[used], len(theta) + LEAST_ROWS)
    if len(cutoffs) < LEAST_CUTOFFS:
        return Beyond(most=most, slope=float("nan"), cutoffs=len(cutoffs))
    below = scale[None, :] <= np.asarray(cutoffs)[:, None] * (1 + 1e-9)
    starts = np.repeat(theta[None], len(cutoffs), axis=0)
    weights = problem.weights * below
    solution = minimise(problem.with_weights(weights), starts, search)
    squares, distances = [], []
    for cutoff, rows, at in zip(cutoffs, below, solution.theta, strict=True):
        above = ~rows & used
        columns = {name: v[above] for name, v in problem.columns.items()}
        losses = problem.law.losses(constants_of(problem.law, at), columns)
        with np.errstate(all="ignore"):
            squares.append(np.log(losses / problem.y[above]) ** 2)
        distances.append(np.log(scale[above] / cutoff))
    slope = _slope(np.concatenate(squares), np.concatenate(distances))
    return Beyond(most=most, slope=slope, cutoffs=len(cutoffs))


def _cutoffs(scale: FloatArray, least: int) -> list[float]:
    """The scales to cut at: budgets with enough rows up to them, and some above."""
    ordered = np.sort(scale)
    steps = np.flatnonzero(ordered[1:] > SAME_SCALE * ordered[:-1])
    # Of one budget alone the exponents cannot be told, nor of a narrow range.
    usable = [
        float(ordered[i])
        for i in steps[LEAST_BUDGETS - 1 :]
        if i + 1 >= least and ordered[i] >= LEAST_RANGE * ordered[0]
    ]
    if len(usable) > CUTOFFS:
        pick = np.linspace(0, len(usable) - 1, CUTOFFS).round().astype(int)
        usable = [usable[i] for i in np.unique(pick)]
    return usable


def _slope(squares: FloatArray, distances: FloatArray) -> float:
    """The root of the part of squared errors that grows as squared distances."""
    known = np.isfinite(squares)
    squares, distances = squares[known], distances[known]
    size = float(squares.mean()) if len(squares) else 0.0
    if size <= 0:
        return 0.0 if len(squares) else float("nan")
    design = np.stack([np.ones(len(squares)), distances**2], axis=1)
    (_, growth), _ = nnls(design, squares / size)
    return float(np.sqrt(growth * size))
