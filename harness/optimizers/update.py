"""Optimisers, the penalties on weights, and the values that both take.

The continuous hyperparameters enter a compiled step as a traced `Hyper`, so no value of
any of them is ever a reason to compile again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from harness.families.arrays import PyTree
from harness.specs.optim import Optimizer, OptimSpec
from harness.specs.registry import find, implementation

Scalar = jax.Array | np.float32


class Hyper(NamedTuple):
    """The continuous fields of `OptimSpec` that a step uses, traced float32 scalars."""

    weight_decay: Scalar
    beta1: Scalar
    beta2: Scalar
    eps: Scalar
    momentum: Scalar
    clip: Scalar
    l1: Scalar
    l2: Scalar
    label_smoothing: Scalar


def hyper(optim: OptimSpec) -> Hyper:
    """The traced part of `optim`."""
    return Hyper(*(np.float32(getattr(optim, name)) for name in Hyper._fields))


def transform(optimizer: str, h: Hyper) -> optax.GradientTransformation:
    """The transformation of gradients into updates, before the learning rate."""
    direction: Callable[[Hyper], optax.GradientTransformation]
    direction = implementation(find(Optimizer, optimizer))
    decay = optax.add_decayed_weights(h.weight_decay, mask=_matrices)
    return optax.chain(_clip(h.clip), direction(h), decay)


def adam(h: Hyper) -> optax.GradientTransformation:
    """m̂ / (√v̂ + eps) of the bias-corrected moments (Kingma & Ba 2015)."""
    return optax.scale_by_adam(b1=h.beta1, b2=h.beta2, eps=h.eps)


def heavy_ball(h: Hyper) -> optax.GradientTransformation:
    """The running sum of gradients, which shrinks by `momentum` at each step."""
    return optax.trace(decay=h.momentum)


def weight_penalty(optim: OptimSpec, h: Hyper, params: PyTree) -> Scalar | float:
    """l1 · Σ|w| + l2 · Σw² over all matrices; of `optim` only which of them act."""
    matrices = [p for p in jax.tree.leaves(params) if p.ndim >= 2]
    total: Scalar | float = 0.0
    if optim.l1:
        total += h.l1 * sum(jnp.abs(p).sum() for p in matrices)
    if optim.l2:
        total += h.l2 * sum(jnp.square(p).sum() for p in matrices)
    return total


def _matrices(params: PyTree) -> PyTree:
    return jax.tree.map(lambda p: p.ndim >= 2, params)


def _clip(limit: Scalar) -> optax.GradientTransformation:
    """Clipping by global norm with a traced limit; 0 clips nothing."""

    def update(
        updates: PyTree, state: optax.EmptyState, params: PyTree = None
    ) -> tuple[PyTree, optax.EmptyState]:
        norm = optax.tree.norm(updates)
        scale = jnp.where((limit > 0) & (norm > limit), limit / norm, 1.0)
        return jax.tree.map(lambda u: u * scale, updates), state

    return optax.GradientTransformation(lambda _: optax.EmptyState(), update)
