"""The losses that ship, of each example of a batch."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def likelihood(outputs: jax.Array, targets: jax.Array, h: Any) -> jax.Array:
    """Nats of each example (B,), or its squared error where targets are real."""
    if h.task.target == "real":
        return squared_error(outputs, targets)
    return cross_entropy(outputs, targets)


def smoothed_likelihood(outputs: jax.Array, targets: jax.Array, h: Any) -> jax.Array:
    """Nats of each example (B,), its target mixed with the uniform distribution."""
    return cross_entropy(outputs, targets, smoothing=h.label_smoothing)


def cross_entropy(
    logits: jax.Array, targets: jax.Array, smoothing: jax.Array | None = None
) -> jax.Array:
    """Nats of each example (B,): mean over its tokens; log-softmax in float32.

    Logits (B, T, V) or (B, V); targets are ids without the last axis, or probabilities
    with it. `smoothing` mixes that share of the uniform distribution into the targets.
    """
    logits = logits.astype(jnp.float32)
    if targets.ndim == logits.ndim:
        picked = jnp.sum(targets * logits, axis=-1)
        nats = jax.nn.logsumexp(logits, axis=-1) - picked
    else:
        nats = _surprisal(logits, targets)
    if smoothing is not None:
        uniform = jax.nn.logsumexp(logits, axis=-1) - logits.mean(axis=-1)
        nats = (1 - smoothing) * nats + smoothing * uniform
    return nats.mean(axis=-1) if nats.ndim == 2 else nats


@jax.custom_vjp
def _surprisal(logits: jax.Array, ids: jax.Array) -> jax.Array:
    """-ln softmax(logits)[id], with a gradient of one pass over the logits."""
    return _surprisal_and_weights(logits, ids)[0]


Saved = tuple[jax.Array, jax.Array, jax.Array]
"""The numbers that the gradient of a surprisal needs: weights, their sums, ids."""


def _surprisal_and_weights(
    logits: jax.Array, ids: jax.Array
) -> tuple[jax.Array, Saved]:
    largest = logits.max(axis=-1)
    weights = jnp.exp(logits - largest[..., None])
    total = weights.sum(axis=-1)
    picked = jnp.take_along_axis(logits, ids[..., None], axis=-1)[..., 0]
    return jnp.log(total) + largest - picked, (weights, total, ids)


def _surprisal_gradients(saved: Saved, g: jax.Array) -> tuple[jax.Array, None]:
    weights, total, ids = saved
    is_target = ids[..., None] == jnp.arange(weights.shape[-1])
    # A masked subtraction, since a scatter is slow on CPU.
    picked = jnp.where(is_target, g[..., None], 0.0)
    return weights * (g / total)[..., None] - picked, None


_surprisal.defvjp(_surprisal_and_weights, _surprisal_gradients)


def squared_error(outputs_BO: jax.Array, targets_BO: jax.Array) -> jax.Array:
    """Mean squared error of each example over its outputs, shape (B,)."""
    return jnp.square(outputs_BO.astype(jnp.float32) - targets_BO).mean(axis=-1)
