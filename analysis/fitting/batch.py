"""Fits one law to many tables at once: all tables and starts in one compiled batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import numpy as np

from analysis.errors import AnalysisError
from analysis.fitting import lanes
from analysis.fitting.problem import HOFFMANN, Objective
from analysis.fitting.search import THOROUGH, Search, constants_of
from analysis.fitting.starts import make_starts
from analysis.laws.base import Law


@dataclass(frozen=True, kw_only=True, slots=True)
class ManyFits:
    """Fits of one law to many tables; arrays over tables.

    Attributes:
        constants: name -> (tables,).
        objective: (tables,) at the optimum.
        share_at_best: (tables,) share of starts that reached it.
    """

    constants: dict[str, np.ndarray]
    objective: np.ndarray
    share_at_best: np.ndarray


def fit_many(
    law: Law,
    columns: Sequence[Mapping[str, np.ndarray]],
    losses: Sequence[np.ndarray],
    *,
    objective: Objective = HOFFMANN,
    search: Search = THOROUGH,
) -> ManyFits:
    """Fit the law to every table; tables may differ in length.

    Args:
        law: the functional form.
        columns: per table, column of the law -> (rows,).
        losses: per table, (rows,).
        objective: Huber or least squares.
        search: starts per table and tolerance.

    Raises:
        AnalysisError: least absolute deviations were asked for, or no tables given.
    """
    if objective.loss == "absolute":
        raise AnalysisError("fit_many knows huber and squares; fit tables one by one")
    if not losses or len(columns) != len(losses):
        raise AnalysisError(f"{len(columns)} column sets for {len(losses)} tables")
    rows = max(len(y) for y in losses)
    weights = np.stack([_pad(np.ones(len(y)), rows, 0.0) for y in losses])
    ys = np.stack([_pad(y, rows, y[-1]) for y in losses])
    xs = {
        k: np.stack([_pad(c[k], rows, c[k][-1]) for c in columns]) for k in law.columns
    }
    starts = np.concatenate(
        [
            lanes.to_solver(law, _starts(law, xs, ys, weights, i, search))
            for i in range(len(losses))
        ]
    )
    each = search.starts
    solution = lanes.solve(
        law,
        starts=starts,
        columns={k: np.repeat(v, each, axis=0) for k, v in xs.items()},
        y=np.repeat(ys, each, axis=0),
        weights=np.repeat(weights, each, axis=0),
        delta=objective.delta if objective.loss == "huber" else np.inf,
        log=objective.space == "log",
        tolerance=search.tolerance,
        max_iterations=search.max_iterations,
    )
    values = solution.objective.reshape(-1, each)
    best = values.argmin(axis=1)
    lowest = values.min(axis=1)
    theta = solution.theta.reshape(len(losses), each, -1)[np.arange(len(best)), best]
    close = lowest[:, None] * (1 + 1e-6) + 1e-20 * rows
    return ManyFits(
        constants=constants_of(law, theta),
        objective=lowest,
        share_at_best=np.mean(values <= close, axis=1),
    )


@lru_cache(maxsize=64)
def _compiled(law: Law) -> Any:
    return jax.jit(law.predict)


def predict_many(
    law: Law, fits: ManyFits, columns: Sequence[Mapping[str, np.ndarray]]
) -> list[np.ndarray]:
    """Predicted loss of every table at its own columns, in one compiled call.

    Args:
        law: the functional form.
        fits: constants of every table.
        columns: per table, column of the law -> (rows,).
    """
    lengths = [len(c[law.columns[0]]) for c in columns]
    rows = lanes.bucket(max(lengths))
    xs = {
        k: np.stack(
            [lanes.pad_rows(np.asarray(c[k], np.float64), rows) for c in columns]
        )
        for k in law.columns
    }
    constants = {k: v[:, None] for k, v in fits.constants.items()}
    with jax.enable_x64(True):
        predicted = np.asarray(_compiled(law)(constants, xs))
    return [p[:count] for p, count in zip(predicted, lengths, strict=True)]


def _pad(a: np.ndarray, rows: int, fill: float) -> np.ndarray:
    return np.concatenate([a, np.full(rows - len(a), fill)])


def _starts(
    law: Law,
    xs: Mapping[str, np.ndarray],
    ys: np.ndarray,
    weights: np.ndarray,
    i: int,
    search: Search,
) -> dict[str, np.ndarray]:
    columns = {k: v[i] for k, v in xs.items()}
    return make_starts(
        law, columns, ys[i], weights[i], count=search.starts, seed=search.seed
    )
