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
from typing import cast

import jax
import numpy as np

from analysis.fitting.newton import Point, Regression, State, minimise, residuals
from analysis.fitting.options import THOROUGH, Search
from analysis.fitting.problem import Problem
from analysis.laws.arrays import Array, Constants, FloatArray
from analysis.laws.base import Law

BLOCK = 64
"""The lanes of one compiled call."""
ROW_BUCKET = 32
"""Tables are lengthened to multiples of it."""
ROUNDS = (12, 25, 50, 100)
"""The evaluations after which finished lanes leave."""
NEAR, FAR = 1e-3, 10.0
"""Ten times the first step's damping, from starts close to their optima or not."""

NumpyState = State[np.ndarray]
"""A state between two compiled calls."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Solution:
    """The optima that the lanes have reached.

    Attributes:
        theta: (lanes, p) optimum in the solver's coordinates.
        objective: (lanes,) value there; inf where no start value was finite.
        iterations: (lanes,) steps taken.
        converged: (lanes,) whether the decrement fell below the tolerance.
    """

    theta: FloatArray
    objective: FloatArray
    iterations: np.ndarray
    converged: np.ndarray

    def take(self, index: np.ndarray | slice) -> Solution:
        """The solution of some of its lanes."""
        return Solution(
            theta=self.theta[index],
            objective=self.objective[index],
            iterations=self.iterations[index],
            converged=self.converged[index],
        )


def to_solver(law: Law, constants: Constants) -> FloatArray:
    """The solver coordinates (…, p) of named constants in natural units."""
    values = [np.asarray(constants[p.name], np.float64) for p in law.parameters]
    logged = [
        np.log(v) if p.scale == "log" else v
        for p, v in zip(law.parameters, values, strict=True)
    ]
    return np.stack(np.broadcast_arrays(*logged), axis=-1)


def bounds(law: Law) -> tuple[FloatArray, FloatArray]:
    """The lower and upper bounds (p,) in solver coordinates."""
    low = np.array([p.to_solver(p.lower) for p in law.parameters])
    high = np.array([p.to_solver(p.upper) for p in law.parameters])
    return low, high


@lru_cache(maxsize=256)
def _compiled(
    law: Law, log: bool, columns_batched: bool, y_batched: bool
) -> Callable[[State[np.ndarray], Regression[np.ndarray], np.int64], State[Array]]:
    axes: Regression[int | None] = Regression(
        columns=dict.fromkeys(law.columns, 0 if columns_batched else None),
        y=0 if y_batched else None,
        weights=0,
        delta=None,
        tolerance=None,
        low=0,
        high=0,
    )
    lane = partial(minimise, law, log)
    return jax.jit(jax.vmap(lane, in_axes=(0, axes, None)))


@lru_cache(maxsize=256)
def _compiled_jacobian(law: Law, log: bool) -> Callable[..., tuple[Array, Array]]:
    def both(
        theta: Array, columns: Mapping[str, Array], y: Array
    ) -> tuple[Array, Array]:
        r = partial(residuals, law, columns=columns, y=y, log=log)
        return r(theta), jax.jacfwd(r)(theta)

    return jax.jit(both)


def jacobian(
    law: Law,
    theta: FloatArray,
    columns: Mapping[str, FloatArray],
    y: FloatArray,
    log: bool,
) -> tuple[FloatArray, FloatArray]:
    """The residuals (rows,) and their Jacobian (rows, p) in solver coordinates.

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
    """The rows after padding: tables of similar length share one compiled program."""
    return max(2, -(-rows // ROW_BUCKET)) * ROW_BUCKET


def pad_rows(a: FloatArray, rows: int, fill: float | None = None) -> FloatArray:
    """The array lengthened to `rows`: by `fill`, or by repeating the last row.

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
    problem: Problem,
    starts: FloatArray,
    search: Search = THOROUGH,
    *,
    near: bool = False,
    held: np.ndarray | None = None,
) -> Solution:
    """The optima reached from every start, all lanes in one compiled program.

    A lane stops when gᵀM⁻¹g/2 (the decrease that an IRLS step would bring) is below the
    search's tolerance as a fraction of its objective.

    Args:
        problem: its columns, losses and weights are (rows,), shared by all lanes, or
            (lanes, rows). The Huber loss of the objective's threshold is minimised.
        starts: (lanes, p) in solver coordinates.
        search: tolerance and most steps.
        near: the starts are close to their optima: steps begin undamped.
        held: (p,) marks constants that stay at their start; None holds none.
    """
    law, log = problem.law, problem.objective.log
    starts = np.atleast_2d(np.asarray(starts, np.float64))
    low, high = (np.broadcast_to(b, starts.shape) for b in bounds(law))
    if held is not None:
        low, high = (np.where(held, starts, b) for b in (low, high))
    rows = bucket(problem.rows)
    columns: dict[str, np.ndarray] = {
        k: pad_rows(np.asarray(problem.columns[k], np.float64), rows)
        for k in law.columns
    }
    batched = any(v.ndim == 2 for v in columns.values())
    if batched:
        shape = (len(starts), rows)
        columns = {k: np.broadcast_to(v, shape) for k, v in columns.items()}
    y = pad_rows(np.asarray(problem.y, np.float64), rows)
    weights = np.atleast_2d(pad_rows(np.asarray(problem.weights, float), rows, 0.0))
    compiled = _compiled(law, log, batched, y.ndim == 2)

    def block(state: NumpyState, index: np.ndarray, limit: int) -> NumpyState:
        regression = Regression(
            columns={k: v[index] for k, v in columns.items()} if batched else columns,
            y=y[index] if y.ndim == 2 else y,
            weights=_lanes(weights, index),
            delta=np.asarray(problem.objective.threshold),
            tolerance=np.asarray(search.tolerance),
            low=low[index],
            high=high[index],
        )
        with jax.enable_x64(True):
            new = compiled(state, regression, np.int64(limit))
            return cast(NumpyState, jax.tree.map(np.asarray, new))

    state = _first_state(np.clip(starts, low, high), NEAR if near else FAR)
    most = search.max_iterations
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for limit in (*(r for r in ROUNDS if r <= most), most + 1):
            state = _round(state, block, limit, pool)
    return Solution(
        theta=state.theta,
        objective=state.point.objective,
        iterations=np.maximum(state.iteration - 1, 0),
        converged=state.converged,
    )


def _first_state(starts: FloatArray, damping: float) -> NumpyState:
    """The state before the first trial, which is the start itself.

    Against an infinite objective it is accepted, and that lowers the damping tenfold.
    """
    lanes, size = starts.shape
    square, ones = np.zeros((lanes, size, size)), np.ones(lanes)
    point = Point(ones * np.inf, np.zeros((lanes, size)), square, square)
    no, count = np.zeros(lanes, bool), np.zeros(lanes, np.int64)
    return State(starts, point, starts, ones, damping * ones, count, no, no)


def _round(
    state: NumpyState,
    block: Callable[[NumpyState, np.ndarray, int], NumpyState],
    limit: int,
    pool: ThreadPoolExecutor,
) -> NumpyState:
    """The state after the lanes that are not done have stepped on, in full blocks."""
    active = np.flatnonzero(~state.converged & ~state.stalled)
    if len(active) == 0:
        return state
    chunks = [active[i : i + BLOCK] for i in range(0, len(active), BLOCK)]

    def run(chunk: np.ndarray) -> NumpyState:
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

    return cast(NumpyState, jax.tree.map(put, state, new))
