"""Many small robust regressions solved together in float64, on all cores.

A *lane* is one minimisation (`newton`) from one start. A law that is a formula, as
nearly all are, is solved by numpy, with its operations as JAX traces them
(`analysis.laws.interpret`): nothing is compiled, and chunks of lanes and rows stay in
the cache of their core. Any other is solved by compiled programs, lanes in blocks of
fixed shape: after each round of steps the lanes that have converged leave, and the rest
are packed into fewer blocks, so that no lane waits for the slowest. Rows are padded
with weight zero, so tables of similar length share one program. Both ways take the same
steps, on as many threads as there are cores.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from analysis.fitting.newton import (
    Point,
    Regression,
    Slopes,
    State,
    advance,
    choose,
    evaluate,
    floor_of,
    is_running,
    to_natural,
)
from analysis.fitting.options import THOROUGH, Search
from analysis.fitting.problem import Problem
from analysis.laws.arrays import Array, Constants, FloatArray
from analysis.laws.base import Law
from analysis.laws.interpret import slopes_of

CHUNK = 32_768
"""Lanes times rows that numpy works on at a time: they stay in the cache."""
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


@lru_cache(maxsize=256)
def _compiled_jacobian(law: Law, log: bool) -> Callable[..., tuple[Array, Array]]:
    def both(
        theta: Array, columns: Mapping[str, Array], y: Array
    ) -> tuple[Array, Array]:
        r = partial(_residuals, law, columns=columns, y=y, log=log)
        return r(theta), jax.jacfwd(r)(theta)

    return jax.jit(both)


def _slopes_in_numpy(
    law: Law, log: bool, columns: Mapping[str, FloatArray], y: FloatArray
) -> Slopes | None:
    """Residuals and their Jacobian by the law's formula; None where it is none.

    Args:
        law: the functional form.
        log: residuals of ln loss, else of loss in nats.
        columns: column of the law -> (rows,), or (lanes, rows).
        y: (rows,) observed loss, or (lanes, rows).
    """
    formula = slopes_of(law.predict, law.parameter_names, law.columns)
    if formula is None:
        return None
    given = [columns[name] for name in law.columns]
    observed = np.log(y) if log else y

    def slopes(theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        constants = [v[:, None] for v in to_natural(np, law, theta).values()]
        predicted, *derivatives = formula(*constants, *given)
        shape = (len(theta), y.shape[-1])
        jacobian = np.empty((len(theta), len(constants), y.shape[-1]))
        for i, parameter in enumerate(law.parameters):
            scaled = parameter.scale == "log"
            jacobian[:, i] = derivatives[i] * (constants[i] if scaled else 1.0)
        predicted = np.broadcast_to(predicted, shape)
        if log:
            jacobian /= predicted[:, None]
            return np.log(predicted) - observed, jacobian
        return predicted - observed, jacobian

    return slopes


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
    given = {k: np.asarray(columns[k], np.float64) for k in law.columns}
    if slopes := _slopes_in_numpy(law, log, given, y):
        with np.errstate(all="ignore"):
            r, jac = slopes(np.asarray(theta, np.float64)[None])
        return r[0], jac[0].T
    rows = bucket(len(y))
    padded = {k: pad_rows(v, rows) for k, v in given.items()}
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
    columns: dict[str, np.ndarray] = {
        k: np.asarray(problem.columns[k], np.float64) for k in law.columns
    }
    regression = Regression(
        columns=columns,
        y=np.asarray(problem.y, np.float64),
        weights=np.atleast_2d(np.asarray(problem.weights, np.float64)),
        delta=np.asarray(problem.objective.threshold),
        tolerance=np.asarray(search.tolerance),
        low=low,
        high=high,
    )
    state = _first_state(np.clip(starts, low, high), NEAR if near else FAR)
    is_formula = slopes_of(law.predict, law.parameter_names, law.columns) is not None
    solve_in = _in_numpy if is_formula else _in_programs
    state = solve_in(law, log, regression, state, search.max_iterations)
    return Solution(
        theta=state.theta,
        objective=state.point.objective,
        iterations=np.maximum(state.iteration - 1, 0),
        converged=state.converged,
    )


def _in_numpy(
    law: Law,
    log: bool,
    regression: Regression[np.ndarray],
    state: NumpyState,
    most: int,
) -> NumpyState:
    """The end of every lane by numpy: nothing is compiled."""
    lanes, rows = len(state.theta), regression.y.shape[-1]
    size = max(1, CHUNK // rows)
    chunks = [np.arange(i, min(i + size, lanes)) for i in range(0, lanes, size)]

    def run(index: np.ndarray) -> NumpyState:
        with np.errstate(all="ignore"):
            return _finish(law, log, regression, _taken(state, index), index, most + 1)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        parts = list(pool.map(run, chunks))
    return cast(NumpyState, jax.tree.map(lambda *a: np.concatenate(a), *parts))


def _finish(
    law: Law,
    log: bool,
    regression: Regression[np.ndarray],
    state: NumpyState,
    index: np.ndarray,
    limit: int,
) -> NumpyState:
    """The state of some lanes after all their steps; those that are done leave."""
    running = np.flatnonzero(is_running(state, limit))
    while len(running):
        own = _of_lanes(regression, index[running])
        at, floor = _in_row_blocks(law, log, own), floor_of(np, own, log=log)
        stepping = _taken(state, running)
        # While all go on, nothing has to be copied in between.
        while True:
            stepping = advance(np, at, own, floor, stepping)
            if not is_running(stepping, limit).all():
                break
        state = _put(state, running, stepping)
        running = running[is_running(stepping, limit)]
    return state


def _in_row_blocks(
    law: Law, log: bool, regression: Regression[np.ndarray]
) -> Callable[[FloatArray], Point[np.ndarray]]:
    """The objectives and derivatives as sums over blocks of rows."""
    rows = regression.y.shape[-1]
    blocks = []
    for first in range(0, rows, CHUNK):
        some = slice(first, first + CHUNK)
        own = regression._replace(
            columns={k: v[..., some] for k, v in regression.columns.items()},
            y=regression.y[..., some],
            weights=regression.weights[..., some],
        )
        slopes = _slopes_in_numpy(law, log, own.columns, own.y)
        assert slopes is not None
        blocks.append((slopes, own))

    def at(theta: FloatArray) -> Point[np.ndarray]:
        points = [evaluate(np, slopes, theta, own) for slopes, own in blocks]
        if len(points) == 1:
            return points[0]
        return Point(*(sum(parts) for parts in zip(*points, strict=True)))

    return at


def _of_lanes(
    regression: Regression[np.ndarray], index: np.ndarray
) -> Regression[np.ndarray]:
    """The data of some lanes; what all lanes share stays shared."""
    return regression._replace(
        columns={
            k: v[index] if v.ndim == 2 else v for k, v in regression.columns.items()
        },
        y=regression.y[index] if regression.y.ndim == 2 else regression.y,
        weights=_lanes(regression.weights, index),
        low=regression.low[index],
        high=regression.high[index],
    )


def _in_programs(
    law: Law,
    log: bool,
    regression: Regression[np.ndarray],
    state: NumpyState,
    most: int,
) -> NumpyState:
    """The end of every lane by compiled programs of one shape."""
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
            new = compiled(state, _of_lanes(padded, index), np.int64(limit))
            return cast(NumpyState, jax.tree.map(np.asarray, new))

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for limit in (*(r for r in ROUNDS if r <= most), most + 1):
            state = _round(state, block, limit, pool)
    return state


def _taken(state: NumpyState, index: np.ndarray) -> NumpyState:
    return cast(NumpyState, jax.tree.map(lambda a: a[index], state))


def _put(state: NumpyState, index: np.ndarray, new: NumpyState) -> NumpyState:
    def put(old: np.ndarray, value: np.ndarray) -> np.ndarray:
        filled = old.copy()
        filled[index] = value
        return filled

    return cast(NumpyState, jax.tree.map(put, state, new))


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
        return block(_taken(state, index), index, limit)

    parts = [run(chunks[0])]  # compiles once, before the threads start
    parts += pool.map(run, chunks[1:])
    new = jax.tree.map(lambda *a: np.concatenate(a)[: len(active)], *parts)

    return _put(state, active, new)
