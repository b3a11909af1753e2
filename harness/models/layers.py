"""Layers that the families share. Activations are flat: rows × features."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx


class Linear(nnx.Module):
    """Matrix product with LeCun-normal weights times `gain`; bias starts at zero."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        rngs: nnx.Rngs,
        dtype: jnp.dtype,
        gain: float = 1.0,
        bias: bool = False,
    ) -> None:
        scale = gain / math.sqrt(inputs)
        shape = (inputs, outputs)
        self.kernel = nnx.Param(scale * jax.random.normal(rngs.params(), shape))
        self.bias = nnx.Param(jnp.zeros(outputs)) if bias else None
        self.dtype = dtype

    def __call__(self, x_NI: jax.Array) -> jax.Array:
        y_NO = x_NI.astype(self.dtype) @ self.kernel[...].astype(self.dtype)
        if self.bias is not None:
            y_NO += self.bias[...].astype(self.dtype)
        return y_NO


class RMSNorm(nnx.Module):
    """x / rms(x) · gain, computed in float32 (Zhang & Sennrich 2019)."""

    def __init__(self, width: int, *, dtype: jnp.dtype) -> None:
        self.gain = nnx.Param(jnp.ones(width))
        self.dtype = dtype

    def __call__(self, x_ND: jax.Array) -> jax.Array:
        x = x_ND.astype(jnp.float32)
        inverse = jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6)
        return (x * inverse * self.gain[...]).astype(self.dtype)


def rotate(x_BTHK: jax.Array) -> jax.Array:
    """Rotary positions, base 10,000, halves as pairs (Su et al. 2021)."""
    T, K = x_BTHK.shape[1], x_BTHK.shape[3]
    frequency = 10_000.0 ** (-jnp.arange(K // 2) / (K // 2))
    angle = jnp.arange(T)[:, None] * frequency
    cos, sin = jnp.cos(angle)[:, None, :], jnp.sin(angle)[:, None, :]
    a, b = jnp.split(x_BTHK.astype(jnp.float32), 2, axis=-1)
    out = jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)
    return out.astype(x_BTHK.dtype)


def causal_attention(
    q_BTHK: jax.Array, k_BTGK: jax.Array, v_BTGK: jax.Array
) -> jax.Array:
    """Softmax attention over the past, softmax in float32; shape (B, T, H, K).

    H / G query heads share each key/value head (Ainslie et al. 2023).
    """
    T, H, K = q_BTHK.shape[1:]
    shared = H // k_BTGK.shape[2]
    # Heads next to the batch: contiguous matrix products, the fast layout on CPU.
    q = (q_BTHK / math.sqrt(K)).transpose(0, 2, 1, 3)
    k = jnp.repeat(k_BTGK, shared, axis=2).transpose(0, 2, 1, 3)
    v = jnp.repeat(v_BTGK, shared, axis=2).transpose(0, 2, 1, 3)
    scores_BHTT = jnp.einsum(
        "bhtk,bhsk->bhts", q, k, preferred_element_type=jnp.float32
    )
    future = jnp.where(jnp.tril(jnp.ones((T, T), bool)), 0.0, -1e30)
    weights_BHTT = jax.nn.softmax(scores_BHTT + future, axis=-1).astype(v.dtype)
    return jnp.einsum("bhts,bhsk->bhtk", weights_BHTT, v).transpose(0, 2, 1, 3)
