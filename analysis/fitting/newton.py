"""Many robust minimisations: damped Gauss–Newton steps on Huber objectives.

Objective: sum over rows of w_i ρ_δ(r_i), r = ln(predicted) - ln(observed) (or without
logarithms), ρ_δ(r) = r²/2 for |r| <= δ, δ(|r| - δ/2) beyond (Huber 1964). δ = ∞ is
least squares; least absolute deviations are the limit of a small δ.

Step: (H + λ(M + diag M)/10) s = -g, with H = Jᵀ diag(w 1{|r| <= δ}) J the Gauss–Newton
Hessian of the objective and M = Jᵀ diag(w min(1, δ/|r|)) J that of its IRLS majoriser.
λ follows the ratio of actual to predicted decrease: near the optimum it vanishes; far
away M shortens the step (H alone sees only the rows within δ) and diag M turns it
towards the gradient (Marquardt 1963). Bounds are kept by projection. Adding the second
derivatives of the law was tried: more steps, each twice as dear.

Every array has its lanes (minimisations) first. The functions take the module of the
arrays, `jax.numpy` in a compiled program or `numpy` without one: the steps are the
same, and so are the optima.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Generic, NamedTuple, TypeVar

from analysis.laws.base import Law

DAMPING_MAX = 1e12
"""The damping at which a minimisation is given up as stalled."""
ROUNDING = 3e-15
"""The relative rounding error of one predicted loss."""

A = TypeVar("A")
"""The arrays of a state: `jax.Array` in a program, numpy's outside."""
Slopes = Callable[[Any], tuple[Any, Any]]
"""`θ (lanes, p) -> residuals (lanes, rows), their Jacobian (lanes, p, rows)`."""
Evaluate = Callable[[Any], "Point[Any]"]
"""`θ (lanes, p) -> the objectives and their derivatives there`."""


class Regression(NamedTuple, Generic[A]):
    """The data of the minimisations, as a tree of float64 arrays.

    Attributes:
        columns: column of the law -> (rows,), or (lanes, rows).
        y: (rows,) observed loss, or (lanes, rows).
        weights: (lanes, rows).
        delta: Huber threshold; `inf` is least squares.
        tolerance: least relative decrement.
        low, high: (lanes, p) bounds, solver coordinates; equal ones hold a constant.
    """

    columns: Mapping[str, A]
    y: A
    weights: A
    delta: A
    tolerance: A
    low: A
    high: A


class Point(NamedTuple, Generic[A]):
    """The objectives (lanes,) and their derivatives at one point of each lane."""

    objective: A
    gradient: A
    hessian: A
    majoriser: A


class State(NamedTuple, Generic[A]):
    """The best point of each minimisation so far and the next one to try."""

    theta: A
    point: Point[A]
    trial: A
    predicted: A
    damping: A
    iteration: A
    converged: A
    stalled: A


def to_natural(xp: ModuleType, law: Law, theta: A) -> dict[str, Any]:
    """The named constants, in natural units, of solver coordinates (…, p)."""
    values: Any = theta
    return {
        p.name: xp.exp(values[..., i]) if p.scale == "log" else values[..., i]
        for i, p in enumerate(law.parameters)
    }


def huber(xp: ModuleType, r: A, delta: A) -> Any:
    """Huber's loss (1964): r²/2 within δ, δ·(|r| - δ/2) beyond; δ may be infinite.

    `r` and `delta` are dimensionless in log space, else in the units of the loss.
    """
    x: Any = r
    inside = xp.abs(x) <= delta
    capped = xp.where(inside, 1.0, delta)  # keeps inf * 0 out of the other branch
    return xp.where(inside, 0.5 * x * x, capped * (xp.abs(x) - 0.5 * capped))


def evaluate(
    xp: ModuleType, slopes: Slopes, theta: Any, regression: Regression[Any]
) -> Point[Any]:
    """The objectives and their derivatives at θ (lanes, p), solver coordinates."""
    weights, delta = regression.weights, regression.delta
    r, jacobian = slopes(theta)
    inside = xp.abs(r) <= delta
    slope = xp.where(inside, r, xp.sign(r) * xp.where(inside, 1.0, delta))
    irls = xp.where(inside, 1.0, delta / xp.where(inside, 1.0, xp.abs(r)))
    across = xp.swapaxes(jacobian, -1, -2)
    hessian = (jacobian * (weights * inside)[:, None, :]) @ across
    majoriser = (jacobian * (weights * irls)[:, None, :]) @ across
    gradient = (jacobian @ (weights * slope)[..., None])[..., 0]
    objective = xp.sum(weights * huber(xp, r, delta), axis=-1)
    finite = xp.isfinite(objective) & xp.isfinite(hessian).all(axis=(-1, -2))
    return Point(xp.where(finite, objective, xp.inf), gradient, hessian, majoriser)


def solve_positive(xp: ModuleType, matrix: Any, right: Any) -> Any:
    """The solutions of small positive definite systems; NaN where one is none.

    Gauss–Jordan without pivoting, unrolled: at p <= 10 this compiles and runs faster
    than LAPACK called lane by lane.
    """
    size = matrix.shape[-1]
    work = xp.concatenate([matrix, right[..., None]], axis=-1)
    place = xp.arange(size)[:, None]
    for k in range(size):
        pivot = work[..., k, k]
        row = work[..., k, :] / xp.where(pivot > 0, pivot, xp.nan)[..., None]
        rest = work - work[..., :, k, None] * row[..., None, :]
        work = xp.where(place == k, row[..., None, :], rest)
    return work[..., -1]


def _step(
    xp: ModuleType,
    theta: Any,
    point: Point[Any],
    damping: Any,
    regression: Regression[Any],
) -> tuple[Any, Any, Any]:
    """Steps, their predicted decreases, decrements gᵀM⁻¹g/2 of the free constants."""
    low, high = regression.low, regression.high
    fixed = ((theta <= low) & (point.gradient > 0)) | (
        (theta >= high) & (point.gradient < 0)
    )
    free = ~fixed & (low < high)
    g = xp.where(free, point.gradient, 0.0)
    both = free[:, :, None] & free[:, None, :]
    eye = xp.eye(theta.shape[-1])
    diagonal = xp.sum(point.majoriser * eye, axis=-1)
    largest = xp.max(diagonal, axis=-1)[:, None]
    ridge = 1e-10 * diagonal + 1e-14 * largest + 1e-300
    own = xp.where(free, ridge, 1.0)
    m = xp.where(both, point.majoriser, 0.0) + own[:, :, None] * eye
    h = xp.where(both, point.hessian, 0.0)
    # Scaling to unit diagonal keeps the elimination accurate in any units.
    scale = 1 / xp.sqrt(xp.sum(m * eye, axis=-1))
    unit = scale[:, :, None] * scale[:, None, :]
    ms, hs, gs = m * unit, h * unit, g * scale
    damped = solve_positive(xp, hs + 0.1 * damping[:, None, None] * (ms + eye), gs)
    plain = solve_positive(xp, ms, gs)
    decrement = 0.5 * xp.sum(gs * plain, axis=-1)
    step = xp.clip(theta - scale * damped, low, high) - theta
    quadratic = xp.sum(step[:, :, None] * h * step[:, None, :], axis=(-1, -2))
    predicted = -(xp.sum(g * step, axis=-1) + 0.5 * quadratic)
    usable = xp.isfinite(step).all(axis=-1) & (predicted > 0)
    return (
        xp.where(usable[:, None], step, 0.0),
        xp.where(usable, predicted, 1.0),
        decrement,
    )


def advance(
    xp: ModuleType,
    at: Evaluate,
    regression: Regression[Any],
    floor: Any,
    state: State[Any],
) -> State[Any]:
    """The state after its trials: kept where better, with the next ones to try."""
    new = at(state.trial)
    accepted = new.objective < state.point.objective
    gain = (state.point.objective - new.objective) / state.predicted
    good, poor = accepted & (gain > 0.75), ~accepted | (gain < 0.25)
    factor = xp.where(good, 0.1, xp.where(poor, 8.0, 1.0))
    damping = xp.clip(state.damping * factor, 1e-9, DAMPING_MAX)
    theta = choose(xp, accepted, state.trial, state.theta)
    point = Point(
        *(choose(xp, accepted, a, b) for a, b in zip(new, state.point, strict=True))
    )
    step, predicted, decrement = _step(xp, theta, point, damping, regression)
    return State(
        theta,
        point,
        theta + step,
        predicted,
        damping,
        state.iteration + 1,
        (decrement <= regression.tolerance * point.objective + floor)
        & xp.isfinite(point.objective),
        (damping >= DAMPING_MAX) | ~xp.isfinite(point.objective),
    )


def choose(xp: ModuleType, which: Any, first: Any, second: Any) -> Any:
    """`first` in the lanes that are marked, `second` in the others."""
    return xp.where(which.reshape(which.shape + (1,) * (first.ndim - 1)), first, second)


def floor_of(xp: ModuleType, regression: Regression[Any], *, log: bool) -> Any:
    """Half the sum of squares of residuals that are mere rounding: no step beats it."""
    sizes = 1.0 if log else regression.y * regression.y
    return ROUNDING**2 * xp.sum(regression.weights * sizes, axis=-1)


def is_running(state: State[Any], limit: Any) -> Any:
    """The lanes that step on, up to `limit` evaluations in all."""
    return ~state.converged & ~state.stalled & (state.iteration < limit)
