"""Many small robust regressions solved together in float64, on all cores.

A *lane* is one minimisation (`newton`) from one start. Lanes are vmapped in blocks of
fixed shape. After each round of steps the lanes that have converged leave, and the rest
are packed into fewer blocks, so that no lane waits for the slowest. Blocks run on as
many threads as there are cores. Rows are padded with weight zero, so tables of similar
length share one compiled program.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import numpy as np

from analysis.fitting.newton import Point, State, minimise, residuals
from analysis.laws.base import Law

Array = Any

BLOCK = 64
ROW_BUCKET = 32
ROUNDS = (12, 25, 50, 100)  # evaluations after which finished lanes leave


@dataclass(frozen=True, kw_only=True, slots=True)
class Solution:
    """Solver output, one entry per lane (numpy arrays).

    Attributes:
        theta: (lanes, p) optimum in the solver's coordinates.
        objective: (lanes,) value there; inf where no start value was finite.
        iterations: (lanes,) steps taken.
        converged: (lanes,) whether the decrement fell below the tolerance.
    """

    theta: np.ndarray
    objective: np.ndarray
    iterations: np.ndarray
    converged: np.ndarray


def to_solver(law: Law, constants: Mapping[str, Any]) -> np.ndarray:
    """Map named constants in natural units to solver coordinates (…, p)."""
    values = [np.asarray(constants[p.name], np.float64) for p in law.parameters]
    logged = [
        np.log(v) if p.scale == "log" else v
        for p, v in zip(law.parameters, values, strict=True)
    ]
    return np.stack(np.broadcast_arrays(*logged), axis=-1)


def bounds(law: Law) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bounds (p,) in solver coordinates."""
    low = np.array([p.to_solver(p.lower) for p in law.parameters])
    high = np.array([p.to_solver(p.upper) for p in law.parameters])
    return low, high


@lru_cache(maxsize=256)
def _compiled(law: Law, log: bool, columns_batched: bool, y_batched: bool) -> Any:
    axes = (0, 0, 0 if columns_batched else None, 0 if y_batched else None)
    one = partial(minimise, law, log)
    return jax.jit(jax.vmap(one, in_axes=(*axes, None, None, 0, 0, None)))


@lru_cache(maxsize=256)
def _compiled_jacobian(law: Law, log: bool) -> Any:
    def both(theta: Array, columns: Mapping[str, Array], y: Array) -> Any:
        r = partial(residuals, law, columns=columns, y=y, log=log)
        return r(theta), jax.jacfwd(r)(theta)

    return jax.jit(both)


def jacobian(
    law: Law, theta: Array, columns: Mapping[str, Array], y: Array, log: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Residuals (rows,) and their Jacobian (rows, p) in solver coordinates.

    Args:
        law: the functional form.
        theta: (p,) solver coordinates.
        columns: column of the law -> (rows,).
        y: (rows,) observed loss.
        log: residuals of ln loss, else of loss in nats.
    """
    rows = bucket(len(y))
    padded = {
        k: pad_rows(np.asarray(columns[k], np.float64), rows) for k in law.columns
    }
    with jax.enable_x64(True):
        r, jac = _compiled_jacobian(law, log)(theta, padded, pad_rows(y, rows))
        return np.asarray(r)[: len(y)], np.asarray(jac)[: len(y)]


def bucket(rows: int) -> int:
    """Rows after padding: tables of similar length share one compiled program."""
    return max(2, -(-rows // ROW_BUCKET)) * ROW_BUCKET


def pad_rows(a: np.ndarray, rows: int, fill: float | None = None) -> np.ndarray:
    """The last axis lengthened to `rows`: by `fill`, or by repeating the last row.

    Args:
        a: (…, rows).
        rows: the new length, not below the old.
        fill: value of the new entries; None repeats the last one.
    """
    extra = rows - a.shape[-1]
    if extra == 0:
        return a
    last = a[..., -1:] if fill is None else np.full((*a.shape[:-1], 1), fill)
    return np.concatenate([a, np.repeat(last, extra, axis=-1)], axis=-1)


def _lanes(a: np.ndarray, index: np.ndarray) -> np.ndarray:
    return (
        a[index] if a.shape[0] > 1 else np.broadcast_to(a, (len(index), *a.shape[1:]))
    )


def solve(
    law: Law,
    *,
    starts: np.ndarray,
    columns: Mapping[str, np.ndarray],
    y: np.ndarray,
    weights: np.ndarray,
    delta: float,
    log: bool = True,
    tolerance: float = 1e-12,
    max_iterations: int = 300,
    damping: float = 10.0,
    held: np.ndarray | None = None,
    threads: int | None = None,
) -> Solution:
    """Minimise the objective from every start; all lanes in one compiled program.

    Args:
        law: the functional form.
        starts: (lanes, p) in solver coordinates.
        columns: each (rows,) shared by all lanes, or (lanes, rows).
        y: observed loss, (rows,) or (lanes, rows).
        weights: row weights, (rows,) or (lanes, rows); zero leaves a row out.
        delta: Huber threshold in units of the residual; `inf` is least squares.
        log: residuals are differences of logarithms.
        tolerance: a lane stops when gᵀM⁻¹g/2 (the decrease that an IRLS step would
            bring) is below this fraction of its objective.
        max_iterations: steps after which a lane stops unconverged.
        damping: λ of the first step, times ten; small when the start is near.
        held: (p,) constants that stay at their start; None holds none.
        threads: blocks solved at once; default: one per core.
    """
    starts = np.atleast_2d(np.asarray(starts, np.float64))
    low, high = (np.broadcast_to(b, starts.shape) for b in bounds(law))
    if held is not None:
        low, high = (np.where(held, starts, b) for b in (low, high))
    rows = bucket(y.shape[-1])
    cols = {k: pad_rows(np.asarray(columns[k], np.float64), rows) for k in law.columns}
    batched = any(v.ndim == 2 for v in cols.values())
    if batched:
        cols = {k: np.broadcast_to(v, (len(starts), rows)) for k, v in cols.items()}
    y = pad_rows(np.asarray(y, np.float64), rows)
    weights = np.atleast_2d(pad_rows(np.asarray(weights, np.float64), rows, 0.0))
    function = _compiled(law, log, batched, y.ndim == 2)

    def block(state: State, index: np.ndarray, limit: int) -> State:
        with jax.enable_x64(True):
            new = function(
                state,
                _lanes(weights, index),
                {k: v[index] for k, v in cols.items()} if batched else cols,
                y[index] if y.ndim == 2 else y,
                np.float64(delta),
                np.float64(tolerance),
                low[index],
                high[index],
                np.int64(limit),
            )
            return jax.tree.map(np.asarray, new)

    state = _first_state(np.clip(starts, low, high), damping)
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        for limit in (*(r for r in ROUNDS if r <= max_iterations), max_iterations + 1):
            state = _round(state, block, limit, pool)
    return Solution(
        theta=state.theta,
        objective=state.point.objective,
        iterations=np.maximum(state.iteration - 1, 0),
        converged=state.converged,
    )


def _first_state(starts: np.ndarray, damping: float) -> State:
    """The start is the first trial: against an infinite objective it is accepted.

    That lowers the damping tenfold.
    """
    lanes, size = starts.shape
    square, ones = np.zeros((lanes, size, size)), np.ones(lanes)
    point = Point(ones * np.inf, np.zeros((lanes, size)), square, square)
    no, count = np.zeros(lanes, bool), np.zeros(lanes, np.int64)
    return State(starts, point, starts, ones, damping * ones, count, no, no)


def _round(
    state: State,
    block: Callable[[State, np.ndarray, int], State],
    limit: int,
    pool: ThreadPoolExecutor,
) -> State:
    """Let the lanes that are not done step on, in full blocks."""
    active = np.flatnonzero(~state.converged & ~state.stalled)
    if len(active) == 0:
        return state
    chunks = [active[i : i + BLOCK] for i in range(0, len(active), BLOCK)]

    def run(chunk: np.ndarray) -> State:
        # The last block is filled up with copies of its last lane.
        index = np.concatenate([chunk, np.full(BLOCK - len(chunk), chunk[-1])])
        return block(jax.tree.map(lambda a: a[index], state), index, limit)

    parts = [run(chunks[0])]  # compiles once, before the threads start
    parts += pool.map(run, chunks[1:])
    new = jax.tree.map(lambda *a: np.concatenate(a)[: len(active)], *parts)

    def put(old: np.ndarray, value: np.ndarray) -> np.ndarray:
        filled = old.copy()
        filled[active] = value
        return filled

    return jax.tree.map(put, state, new)
