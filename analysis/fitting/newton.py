"""One robust minimisation: damped Gauss–Newton steps on a Huber objective.

Objective: sum over rows of w_i ρ_δ(r_i), r = ln(predicted) - ln(observed) (or without
logarithms), ρ_δ(r) = r²/2 for |r| <= δ, δ(|r| - δ/2) beyond (Huber 1964). δ = ∞ is
least squares; least absolute deviations are the limit of a small δ.

Step: (H + λ(M + diag M)/10) s = -g, with H = Jᵀ diag(w 1{|r| <= δ}) J the Gauss–Newton
Hessian of the objective and M = Jᵀ diag(w min(1, δ/|r|)) J that of its IRLS majoriser.
λ follows the ratio of actual to predicted decrease: near the optimum it vanishes; far
away M shortens the step (H alone sees only the rows within δ) and diag M turns it
towards the gradient (Marquardt 1963). Bounds are kept by projection. Adding the second
derivatives of the law was tried: more steps, each twice as dear.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from analysis.laws.arrays import Array
from analysis.laws.base import Law

DAMPING_MAX = 1e12
"""The damping at which a minimisation is given up as stalled."""
ROUNDING = 3e-15
"""The relative rounding error of one predicted loss."""

A = TypeVar("A")
"""The arrays of a state: `jax.Array` in a program, numpy's between two of them."""


class Regression(NamedTuple, Generic[A]):
    """The data of one minimisation, as a tree of float64 arrays.

    Attributes:
        columns: column of the law -> (rows,).
        y: (rows,) observed loss.
        weights: (rows,).
        delta: Huber threshold; `inf` is least squares.
        tolerance: least relative decrement.
        low, high: (p,) bounds, solver coordinates; equal ones hold a constant.
    """

    columns: Mapping[str, A]
    y: A
    weights: A
    delta: A
    tolerance: A
    low: A
    high: A


class Point(NamedTuple, Generic[A]):
    """The objective and its derivatives at one point."""

    objective: A
    gradient: A
    hessian: A
    majoriser: A


class State(NamedTuple, Generic[A]):
    """The best point of a minimisation so far and the next one to try."""

    theta: A
    point: Point[A]
    trial: A
    predicted: A
    damping: A
    iteration: A
    converged: A
    stalled: A


def to_natural(law: Law, theta: Array) -> dict[str, Array]:
    """The named constants, in natural units, of solver coordinates (…, p)."""
    return {
        p.name: jnp.exp(theta[..., i]) if p.scale == "log" else theta[..., i]
        for i, p in enumerate(law.parameters)
    }


def residuals(
    law: Law, theta: Array, columns: Mapping[str, Array], y: Array, log: bool
) -> Array:
    """The residuals of all rows: ln(predicted/observed), or predicted - observed.

    Args:
        law: the functional form.
        theta: (p,) solver coordinates.
        columns: column of the law -> (rows,).
        y: (rows,) observed loss.
        log: of ln loss, else of loss in nats.
    """
    predicted = law.predict(to_natural(law, theta), columns)
    return jnp.log(predicted) - jnp.log(y) if log else predicted - y


def huber(r: Array, delta: Array) -> Array:
    """Huber's loss (1964): r²/2 within δ, δ·(|r| - δ/2) beyond; δ may be infinite.

    `r` and `delta` are dimensionless in log space, else in the units of the loss.
    """
    inside = jnp.abs(r) <= delta
    capped = jnp.where(inside, 1.0, delta)  # keeps inf * 0 out of the other branch
    return jnp.where(inside, 0.5 * r * r, capped * (jnp.abs(r) - 0.5 * capped))


def evaluate(
    law: Law, log: bool, theta: Array, regression: Regression[Array]
) -> Point[Array]:
    """The objective and its derivatives at θ (p,), solver coordinates."""
    weights, delta = regression.weights, regression.delta
    res = partial(residuals, law, columns=regression.columns, y=regression.y, log=log)

    def primal(t: Array) -> tuple[Array, Array]:
        r = res(t)
        return r, r

    jacobian, r = jax.jacfwd(primal, has_aux=True)(theta)
    inside = jnp.abs(r) <= delta
    slope = jnp.where(inside, r, jnp.sign(r) * jnp.where(inside, 1.0, delta))
    irls = jnp.where(inside, 1.0, delta / jnp.where(inside, 1.0, jnp.abs(r)))
    pull = weights * slope
    hessian = (jacobian.T * (weights * inside)) @ jacobian
    majoriser = (jacobian.T * (weights * irls)) @ jacobian
    objective = jnp.vdot(weights, huber(r, delta))
    finite = jnp.isfinite(objective) & jnp.isfinite(hessian).all()
    return Point(
        jnp.where(finite, objective, jnp.inf), jacobian.T @ pull, hessian, majoriser
    )


def _solve_positive(matrix: Array, right: Array) -> Array:
    """The solution of a small positive definite system; NaN when it is not one.

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
    theta: Array, point: Point[Array], damping: Array, low: Array, high: Array
) -> tuple[Array, Array, Array]:
    """The step, its predicted decrease, the decrement gᵀM⁻¹g/2 of free constants."""
    fixed = ((theta <= low) & (point.gradient > 0)) | (
        (theta >= high) & (point.gradient < 0)
    )
    free = ~fixed & (low < high)
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
    both_systems = jnp.stack([hs + 0.1 * damping * (ms + jnp.eye(theta.size)), ms])
    damped, plain = jax.vmap(_solve_positive, in_axes=(0, None))(both_systems, gs)
    decrement = 0.5 * jnp.vdot(gs, plain)
    step = jnp.clip(theta - scale * damped, low, high) - theta
    predicted = -(jnp.vdot(g, step) + 0.5 * step @ h @ step)
    usable = jnp.isfinite(step).all() & (predicted > 0)
    return jnp.where(usable, step, 0.0), jnp.where(usable, predicted, 1.0), decrement


def _advance(
    at: Callable[[Array], Point[Array]],
    regression: Regression[Array],
    floor: Array,
    state: State[Array],
) -> State[Array]:
    """The state after its trial: kept where it is better, with the next one to try."""
    new = at(state.trial)
    accepted = new.objective < state.point.objective
    gain = (state.point.objective - new.objective) / state.predicted
    good, poor = accepted & (gain > 0.75), ~accepted | (gain < 0.25)
    factor = jnp.where(good, 0.1, jnp.where(poor, 8.0, 1.0))
    damping = jnp.clip(state.damping * factor, 1e-9, DAMPING_MAX)
    theta = jnp.where(accepted, state.trial, state.theta)
    point = jax.tree.map(lambda a, b: jnp.where(accepted, a, b), new, state.point)
    step, predicted, decrement = _step(
        theta, point, damping, regression.low, regression.high
    )
    return State(
        theta,
        point,
        theta + step,
        predicted,
        damping,
        state.iteration + 1,
        (decrement <= regression.tolerance * point.objective + floor)
        & jnp.isfinite(point.objective),
        (damping >= DAMPING_MAX) | ~jnp.isfinite(point.objective),
    )


def minimise(
    law: Law,
    log: bool,
    state: State[Array],
    regression: Regression[Array],
    limit: Array,
) -> State[Array]:
    """The state once it has converged, stalled, or spent `limit` evaluations in all.

    Args:
        law, log: as for `residuals`.
        state: where to go on from.
        regression: rows, threshold, tolerance and bounds.
        limit: evaluations in all.
    """

    def running(state: State[Array]) -> Array:
        return ~state.converged & ~state.stalled & (state.iteration < limit)

    # Half the sum of squares of residuals that are mere rounding: no step beats it.
    sizes = 1.0 if log else regression.y * regression.y
    floor = ROUNDING**2 * jnp.sum(regression.weights * sizes)
    at = partial(evaluate, law, log, regression=regression)
    advance = partial(_advance, at, regression, floor)
    return jax.lax.while_loop(running, advance, state)
