"""Lanes solved by compiled programs of one shape: for laws that are no formula.

Lanes are stepped in blocks of fixed shape: after each round those that have converged
leave, and the rest are packed into fewer blocks, so that no lane waits for the slowest.
Rows are padded with weight zero, so tables of similar length share one program.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from analysis.fitting.newton import (
    Point,
    Regression,
    State,
    advance,
    choose,
    evaluate,
    floor_of,
    is_running,
    to_natural,
)
from analysis.fitting.padding import bucket, pad_rows
from analysis.fitting.states import NumpyState, data_of, joined, put_back, taken
from analysis.laws.arrays import Array, FloatArray
from analysis.laws.base import Law

BLOCK = 64
"""The lanes of one compiled call."""
ROUNDS = (12, 25, 50, 100)
"""The evaluations after which finished lanes leave."""


@lru_cache(maxsize=256)
def _compiled(
    law: Law, log: bool, columns_batched: bool, y_batched: bool
) -> Callable[[State[np.ndarray], Regression[np.ndarray], np.int64], State[Array]]:
    axes = (
        0,
        dict.fromkeys(law.columns, 0 if columns_batched else None),
        0 if y_batched else None,
    )

    def with_slopes(
        theta: Array, columns: Mapping[str, Array], y: Array
    ) -> tuple[Array, Array]:
        def primal(t: Array) -> tuple[Array, Array]:
            r = _residuals(law, t, columns, y, log)
            return r, r

        jacobian, r = jax.jacfwd(primal, has_aux=True)(theta)
        return r, jacobian.T

    def run(
        state: State[Array], regression: Regression[Array], limit: Array
    ) -> State[Array]:
        of_lanes = jax.vmap(with_slopes, in_axes=axes)

        def slopes(theta: Array) -> tuple[Array, Array]:
            return of_lanes(theta, regression.columns, regression.y)

        def at(theta: Array) -> Point[Array]:
            return evaluate(jnp, slopes, theta, regression)

        floor = floor_of(jnp, regression, log=log)

        def step(state: State[Array]) -> State[Array]:
            new = advance(jnp, at, regression, floor, state)
            running = is_running(state, limit)
            kept: State[Array] = jax.tree.map(partial(choose, jnp, running), new, state)
            return kept

        def is_any_running(state: State[Array]) -> Array:
            return jnp.any(is_running(state, limit))

        end: State[Array] = jax.lax.while_loop(is_any_running, step, state)
        return end

    return jax.jit(run)


def _residuals(
    law: Law, theta: Array, columns: Mapping[str, Array], y: Array, log: bool
) -> Array:
    """The residuals of all rows: ln(predicted/observed), or predicted - observed."""
    predicted = law.predict(to_natural(jnp, law, theta), columns)
    return jnp.log(predicted) - jnp.log(y) if log else predicted - y


def jacobian(
    law: Law,
    log: bool,
    theta: FloatArray,
    columns: Mapping[str, FloatArray],
    y: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """The residuals (rows,) and their Jacobian (rows, p); see `lanes.jacobian`."""
    rows = bucket(len(y))
    padded = {k: pad_rows(v, rows) for k, v in columns.items()}
    with jax.enable_x64(True):
        r, jac = _compiled_jacobian(law, log)(theta, padded, pad_rows(y, rows))
        return np.asarray(r)[: len(y)], np.asarray(jac)[: len(y)]


@lru_cache(maxsize=256)
def _compiled_jacobian(law: Law, log: bool) -> Callable[..., tuple[Array, Array]]:
    def both(
        theta: Array, columns: Mapping[str, Array], y: Array
    ) -> tuple[Array, Array]:
        r = partial(_residuals, law, columns=columns, y=y, log=log)
        return r(theta), jax.jacfwd(r)(theta)

    return jax.jit(both)


def solve(
    law: Law,
    log: bool,
    regression: Regression[np.ndarray],
    state: NumpyState,
    most: int,
) -> NumpyState:
    """The end of every lane, after `most` steps at most."""
    rows = bucket(regression.y.shape[-1])
    columns = {k: pad_rows(v, rows) for k, v in regression.columns.items()}
    batched = any(v.ndim == 2 for v in columns.values())
    if batched:
        shape = (len(state.theta), rows)
        columns = {k: np.broadcast_to(v, shape) for k, v in columns.items()}
    padded = regression._replace(
        columns=columns,
        y=pad_rows(regression.y, rows),
        weights=pad_rows(regression.weights, rows, 0.0),
    )
    compiled = _compiled(law, log, batched, padded.y.ndim == 2)

    def block(state: NumpyState, index: np.ndarray, limit: int) -> NumpyState:
        with jax.enable_x64(True):
            new = compiled(state, data_of(padded, index), np.int64(limit))
            return cast(NumpyState, jax.tree.map(np.asarray, new))

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for limit in (*(r for r in ROUNDS if r <= most), most + 1):
            state = _round(state, block, limit, pool)
    return state


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
        return block(taken(state, index), index, limit)

    parts = [run(chunks[0])]  # compiles once, before the threads start
    parts += pool.map(run, chunks[1:])
    return put_back(state, active, taken(joined(parts), np.arange(len(active))))
