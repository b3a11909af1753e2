"""The numerical core: many small robust regressions solved together in float64.

A *lane* is one minimisation from one start. Lanes are vmapped in blocks of fixed shape;
a block stops when all of its lanes have, and blocks run on as many threads as there are
cores. Rows are padded with weight zero, so tables of similar length share one compiled
program.

Objective: sum over rows of w_i ρ_δ(r_i), r = ln(predicted) - ln(observed) (or without
logarithms), ρ_δ(r) = r²/2 for |r| <= δ, δ(|r| - δ/2) beyond (Huber 1964). δ = ∞ is
least squares; least absolute deviations are the limit of a small δ.

Step: (H + λM) s = -g with H the exact Hessian, M = Jᵀ diag(w min(1, δ/|r|)) J the
Gauss–Newton matrix with IRLS weights, which majorises the objective; λ is adapted by
the ratio of actual to predicted decrease. Near the optimum λ → 0 (Newton, quadratic);
far from it the step is a damped IRLS step. Bounds are kept by projection.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analysis.laws.base import Law

Array = Any

BLOCK = 64
ROW_BUCKET = 64
DAMPING_MAX = 1e12
ROUNDING = 3e-15  # relative rounding error of one predicted loss


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


class _Point(NamedTuple):
    objective: Array
    gradient: Array
    hessian: Array
    majoriser: Array


class _State(NamedTuple):
    theta: Array
    point: _Point
    trial: Array
    predicted: Array
    damping: Array
    iteration: Array
    converged: Array
    stalled: Array


def to_natural(law: Law, theta: Array) -> dict[str, Array]:
    """Map solver coordinates (…, p) to a dict of named constants in natural units."""
    return {
        p.name: jnp.exp(theta[..., i]) if p.scale == "log" else theta[..., i]
        for i, p in enumerate(law.parameters)
    }


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


def residuals(
    law: Law, theta: Array, columns: Mapping[str, Array], y: Array, log: bool
) -> Array:
    """Residuals of all rows: ln(predicted/observed), or predicted - observed."""
    predicted = law.predict(to_natural(law, theta), columns)
    return jnp.log(predicted) - jnp.log(y) if log else predicted - y


def huber(r: Array, delta: Array) -> Array:
    """Huber's loss: r²/2 within δ, linear beyond (δ may be infinite)."""
    inside = jnp.abs(r) <= delta
    capped = jnp.where(inside, 1.0, delta)  # keeps inf * 0 out of the other branch
    return jnp.where(inside, 0.5 * r * r, capped * (jnp.abs(r) - 0.5 * capped))


def _evaluate(
    law: Law,
    log: bool,
    theta: Array,
    columns: Mapping[str, Array],
    y: Array,
    weights: Array,
    delta: Array,
) -> _Point:
    res = partial(residuals, law, columns=columns, y=y, log=log)

    def primal(t: Array) -> tuple[Array, Array]:
        r = res(t)
        return r, r

    jacobian, r = jax.jacfwd(primal, has_aux=True)(theta)
    inside = jnp.abs(r) <= delta
    slope = jnp.where(inside, r, jnp.sign(r) * jnp.where(inside, 1.0, delta))
    irls = jnp.where(inside, 1.0, delta / jnp.where(inside, 1.0, jnp.abs(r)))
    pull = jax.lax.stop_gradient(weights * slope)
    curvature = jax.hessian(lambda t: jnp.vdot(pull, res(t)))(theta)
    hessian = (jacobian.T * (weights * inside)) @ jacobian + curvature
    majoriser = (jacobian.T * (weights * irls)) @ jacobian
    objective = jnp.vdot(weights, huber(r, delta))
    finite = jnp.isfinite(objective) & jnp.isfinite(hessian).all()
    return _Point(
        jnp.where(finite, objective, jnp.inf), jacobian.T @ pull, hessian, majoriser
    )


def _solve_positive(matrix: Array, right: Array) -> Array:
    """Solve a small positive definite system; NaN when it is not one.

    Gauss–Jordan without pivoting, unrolled: at p <= 10 this compiles and runs faster
    than LAPACK called lane by lane.
    """
    size = matrix.shape[0]
    work = jnp.concatenate([matrix, right[:, None]], axis=1)
    for k in range(size):
        pivot = work[k, k]
        row = work[k] / jnp.where(pivot > 0, pivot, jnp.nan)
        work = (work - work[:, k : k + 1] * row).at[k].set(row)
    return work[:, -1]


def _step(
    theta: Array, point: _Point, damping: Array, low: Array, high: Array
) -> tuple[Array, Array, Array]:
    """Return (step, predicted decrease, decrement gᵀM⁻¹g/2 of the free constants)."""
    fixed = ((theta <= low) & (point.gradient > 0)) | (
        (theta >= high) & (point.gradient < 0)
    )
    free = ~fixed
    g = jnp.where(free, point.gradient, 0.0)
    both = free[:, None] & free[None, :]
    diagonal = jnp.diag(point.majoriser)
    ridge = 1e-10 * diagonal + 1e-14 * jnp.max(diagonal) + 1e-300
    m = jnp.where(both, point.majoriser, 0.0) + jnp.diag(jnp.where(free, ridge, 1.0))
    h = jnp.where(both, point.hessian, 0.0)
    # Scaling to unit diagonal keeps the elimination accurate in any units.
    scale = jax.lax.rsqrt(jnp.diag(m))
    unit = scale[:, None] * scale[None, :]
    ms, hs, gs = m * unit, h * unit, g * scale
    both_systems = jnp.stack([hs + damping * ms, ms])
    damped, plain = jax.vmap(_solve_positive, in_axes=(0, None))(both_systems, gs)
    decrement = 0.5 * jnp.vdot(gs, plain)
    step = jnp.clip(theta - scale * damped, low, high) - theta
    predicted = -(jnp.vdot(g, step) + 0.5 * step @ h @ step)
    usable = jnp.isfinite(step).all() & (predicted > 0)
    return jnp.where(usable, step, 0.0), jnp.where(usable, predicted, 1.0), decrement


def _advance(
    evaluate: Any,
    low: Array,
    high: Array,
    tolerance: Array,
    floor: Array,
    state: _State,
) -> _State:
    """Evaluate the trial point, keep it if it is better, and choose the next one."""
    new = evaluate(state.trial)
    accepted = new.objective < state.point.objective
    gain = (state.point.objective - new.objective) / state.predicted
    good, poor = accepted & (gain > 0.75), ~accepted | (gain < 0.25)
    factor = jnp.where(good, 0.1, jnp.where(poor, 8.0, 1.0))
    damping = jnp.clip(state.damping * factor, 1e-9, DAMPING_MAX)
    theta = jnp.where(accepted, state.trial, state.theta)
    point = jax.tree.map(lambda a, b: jnp.where(accepted, a, b), new, state.point)
    step, predicted, decrement = _step(theta, point, damping, low, high)
    return _State(
        theta,
        point,
        theta + step,
        predicted,
        damping,
        state.iteration + 1,
        (decrement <= tolerance * point.objective + floor)
        & jnp.isfinite(point.objective),
        (damping >= DAMPING_MAX) | ~jnp.isfinite(point.objective),
    )


def _minimise(
    law: Law,
    log: bool,
    max_iterations: int,
    start: Array,
    weights: Array,
    columns: Mapping[str, Array],
    y: Array,
    delta: Array,
    tolerance: Array,
    low: Array,
    high: Array,
) -> tuple[Array, Array, Array, Array]:
    def evaluate(theta: Array) -> _Point:
        return _evaluate(law, log, theta, columns, y, weights, delta)

    def running(state: _State) -> Array:
        return ~state.converged & ~state.stalled & (state.iteration <= max_iterations)

    start = jnp.clip(start, low, high)
    square = jnp.zeros((start.size, start.size))
    infinity = jnp.asarray(jnp.inf)
    no, one = jnp.asarray(False), jnp.asarray(1.0)
    # The start is the first trial: against an infinite objective it is accepted, which
    # lowers the damping from 10 to 1.
    state = _State(
        start,
        _Point(infinity, jnp.zeros_like(start), square, square),
        start,
        one,
        10 * one,
        jnp.asarray(0),
        no,
        no,
    )
    # Half the sum of squares of residuals that are mere rounding: no step beats it.
    floor = ROUNDING**2 * jnp.sum(weights * (1.0 if log else y * y))
    advance = partial(_advance, evaluate, low, high, tolerance, floor)
    state = jax.lax.while_loop(running, advance, state)
    return state.theta, state.point.objective, state.iteration - 1, state.converged


@lru_cache(maxsize=256)
def _compiled(
    law: Law, log: bool, max_iterations: int, columns_batched: bool, y_batched: bool
) -> Any:
    one = partial(_minimise, law, log, max_iterations)
    axes = (0, 0, 0 if columns_batched else None, 0 if y_batched else None)
    return jax.jit(jax.vmap(one, in_axes=(*axes, None, None, None, None)))


@lru_cache(maxsize=256)
def _compiled_jacobian(law: Law, log: bool) -> Any:
    def both(theta: Array, columns: Mapping[str, Array], y: Array) -> Any:
        r = partial(residuals, law, columns=columns, y=y, log=log)
        return r(theta), jax.jacfwd(r)(theta)

    return jax.jit(both)


def jacobian(
    law: Law, theta: Array, columns: Mapping[str, Array], y: Array, log: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Residuals (rows,) and their Jacobian (rows, p) in solver coordinates."""
    rows = bucket(len(y))
    padded = {
        k: pad_rows(np.asarray(columns[k], np.float64), rows) for k in law.columns
    }
    with jax.enable_x64(True):
        r, jac = _compiled_jacobian(law, log)(theta, padded, pad_rows(y, rows))
        return np.asarray(r)[: len(y)], np.asarray(jac)[: len(y)]


def bucket(rows: int) -> int:
    """Rows after padding: tables of similar length share one compiled program."""
    return -(-rows // ROW_BUCKET) * ROW_BUCKET


def pad_rows(a: np.ndarray, rows: int, fill: float | None = None) -> np.ndarray:
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
        threads: blocks solved at once; default: one per core.
    """
    starts = np.atleast_2d(np.asarray(starts, np.float64))
    lanes, rows = starts.shape[0], y.shape[-1]
    padded = bucket(rows)
    cols = {
        k: pad_rows(np.asarray(columns[k], np.float64), padded) for k in law.columns
    }
    cols_batched = any(v.ndim == 2 for v in cols.values())
    if cols_batched:
        cols = {k: np.broadcast_to(v, (lanes, padded)) for k, v in cols.items()}
    y = pad_rows(np.asarray(y, np.float64), padded)
    w = np.atleast_2d(pad_rows(np.asarray(weights, np.float64), padded, 0.0))
    low, high = bounds(law)
    function = _compiled(law, log, max_iterations, cols_batched, y.ndim == 2)

    def block(first: int) -> list[np.ndarray]:
        index = np.minimum(np.arange(first, first + BLOCK), lanes - 1)
        with jax.enable_x64(True):
            out = function(
                starts[index],
                _lanes(w, index),
                {k: v[index] for k, v in cols.items()} if cols_batched else cols,
                y[index] if y.ndim == 2 else y,
                np.float64(delta),
                np.float64(tolerance),
                low,
                high,
            )
            return [np.asarray(o)[: lanes - first] for o in out]

    firsts = range(0, lanes, BLOCK)
    parts = [block(0)]  # compiles once, before the threads start
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        parts += pool.map(block, firsts[1:])
    theta, objective, iterations, converged = (
        np.concatenate(p) for p in zip(*parts, strict=True)
    )
    return Solution(
        theta=theta, objective=objective, iterations=iterations, converged=converged
    )
