"""Schedules and optimisers.

The learning rate of every step is computed on the host and enters the compiled step as
an array; the other continuous hyperparameters enter as a traced `Hyper`. So no value of
any of them is ever a reason to compile again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from harness.specs.run import OptimSpec

PyTree = Any


class Hyper(NamedTuple):
    """Continuous hyperparameters, traced float32 scalars."""

    weight_decay: Any
    beta1: Any
    beta2: Any
    eps: Any
    momentum: Any
    clip: Any
    l1: Any
    l2: Any
    label_smoothing: Any


def hyper(spec: OptimSpec) -> Hyper:
    """The traced part of `spec`."""
    return Hyper(*(np.float32(getattr(spec, name)) for name in Hyper._fields))


def learning_rates(
    spec: OptimSpec, steps: int, first: int, last: int
) -> NDArray[np.float32]:
    """Learning rates of steps [first, last) of a run of `steps`.

    Step s uses min(1, (s + 1) / warmup) · decay(s) · lr; during the trunk decay is 1,
    so runs of different length agree there to the last bit.
    """
    step = np.arange(first, last, dtype=np.float64)
    warm = np.minimum(1.0, (step + 1) / max(1, spec.warmup))
    start = spec.decay_start(steps)
    # Progress reaches 1 on the step after the last: the last update still moves.
    progress = np.clip((step - start) / max(1, steps - start), 0.0, 1.0)
    decay = DECAYS[spec.schedule](progress, spec.final)
    return (spec.lr * warm * decay).astype(np.float32)


DECAYS: dict[str, Callable[[NDArray[Any], float], NDArray[Any]]] = {
    "wsd": lambda progress, final: 1 - (1 - final) * np.sqrt(progress),
    "cosine": lambda progress, final: (
        final + (1 - final) * (1 + np.cos(np.pi * progress)) / 2
    ),
    "constant": lambda progress, final: np.ones_like(progress),
}
"""Share of the peak learning rate at each progress of the decay, by schedule."""


def transform(optimizer: str, h: Hyper) -> optax.GradientTransformation:
    """Gradient to update direction, before the learning rate."""
    direction = DIRECTIONS[optimizer](h)
    decay = optax.add_decayed_weights(h.weight_decay, mask=_matrices)
    return optax.chain(_clip(h.clip), direction, decay)


DIRECTIONS: dict[str, Callable[[Hyper], optax.GradientTransformation]] = {
    "adamw": lambda h: optax.scale_by_adam(b1=h.beta1, b2=h.beta2, eps=h.eps),
    "sgd": lambda h: optax.trace(decay=h.momentum),
}
"""Clipped gradient to update direction, by optimiser."""


def weight_penalty(spec: OptimSpec, h: Hyper, params: PyTree) -> Any:
    """l1 · Σ|w| + l2 · Σw² over all matrices; of `spec` only which of them act."""
    matrices = [p for p in jax.tree.leaves(params) if p.ndim >= 2]
    total: Any = 0.0
    if spec.l1:
        total += h.l1 * sum(jnp.abs(p).sum() for p in matrices)
    if spec.l2:
        total += h.l2 * sum(jnp.square(p).sum() for p in matrices)
    return total


def _matrices(params: PyTree) -> PyTree:
    return jax.tree.map(lambda p: p.ndim >= 2, params)


def _clip(limit: Any) -> optax.GradientTransformation:
    """Clipping by global norm with a traced limit; 0 clips nothing."""

    def update(updates: PyTree, state: Any, params: PyTree = None) -> tuple:
        norm = optax.tree.norm(updates)
        scale = jnp.where((limit > 0) & (norm > limit), limit / norm, 1.0)
        return jax.tree.map(lambda u: u * scale, updates), state

    return optax.GradientTransformation(lambda _: optax.EmptyState(), update)
