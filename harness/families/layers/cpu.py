"""Matrix products, convolution and attention in forms that XLA runs fast on a CPU.

Their results are those of the plain forms up to rounding. On an accelerator the plain
forms are faster, so `on_cpu` decides while a model is traced.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp

from harness.families.layers.plain import are_plain

ROW_BLOCKS = 2
"""Blocks of queries in causal attention; each looks only at the keys up to its end."""

Saved = tuple[jax.Array, ...]
AttentionSaved = tuple[
    jax.Array, jax.Array, jax.Array, list[jax.Array], jax.Array, jax.Array
]
"""Queries, keys, values; weights of each block, their sums; the output."""


_in_memory: Callable[[jax.Array], jax.Array] = jax.lax.optimization_barrier


def on_cpu() -> bool:
    """Whether what is traced now will run on a CPU, and there alone."""
    return not are_plain() and jax.default_backend() == "cpu"


@jax.custom_vjp
def product(x_NI: jax.Array, w_IO: jax.Array) -> jax.Array:
    """x @ w, with a faster gradient of w."""
    return x_NI @ w_IO


def _product_gradients(saved: Saved, g_NO: jax.Array) -> Saved:
    x_NI, w_IO = saved
    return g_NO @ w_IO.T, _turned(x_NI) @ g_NO


product.defvjp(lambda x, w: (x @ w, (x, w)), _product_gradients)


def _turned(x: jax.Array) -> jax.Array:
    """The last two axes swapped, in memory.

    XLA's fast products want the contracted axis last on the left side; it would fold a
    mere transposition into a slow product. Measured at 2,048 × 256 by 2,048 × 1,024: 29
    ms without the copy, 17 ms with it.
    """
    return _in_memory(x.swapaxes(-1, -2))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolution(x_BXYC: jax.Array, w_IO: jax.Array, k: int) -> jax.Array:
    """k×k convolution with stride 1 and no padding: (B, X - k + 1, Y - k + 1, O).

    Memory bounds it where channels are few. Copies of whole k×k patches hold k²·C
    numbers a pixel; here the k pixels beside each other are copied, one product gives
    what they add to k rows of the output, and these are added up: k·(C + O) numbers.
    Gradients go the same way back.

    Args:
        x_BXYC: images.
        w_IO: weights; I counts rows of a patch, their pixels and C, in this order.
        k: side of the kernel.
    """
    return _convolution(x_BXYC, w_IO, k)[0]


def _convolution(x: jax.Array, w: jax.Array, k: int) -> tuple[jax.Array, Saved]:
    B, X, Y, C = x.shape
    X_out, Y_out = X - k + 1, Y - k + 1
    beside = jnp.concatenate([x[:, :, j : j + Y_out] for j in range(k)], axis=-1)
    of_rows = w.reshape(k, k * C, -1).swapaxes(0, 1).reshape(k * C, -1)
    parts = (beside.reshape(-1, k * C) @ of_rows).reshape(B, X, Y_out, k, -1)
    y = _sum(parts[:, i : i + X_out, :, i] for i in range(k))
    return y, (beside, w)


def _convolution_gradients(k: int, saved: Saved, g: jax.Array) -> Saved:
    beside, w = saved
    B, X, Y_out, kC = beside.shape
    aside = [(0, 0)] * 2
    above = [jnp.pad(g, [(0, 0), (i, k - 1 - i), *aside]) for i in range(k)]
    g_NP = jnp.concatenate(above, axis=-1).reshape(B * X * Y_out, -1)
    to_rows = w.reshape(k, kC, -1).swapaxes(1, 2).reshape(-1, kC)
    parts = (g_NP @ to_rows).reshape(B, X, Y_out, k, -1)
    dx = _sum(
        jnp.pad(parts[:, :, :, j], [*aside, (j, k - 1 - j), (0, 0)]) for j in range(k)
    )
    # The copy that `_turned` makes would cost more than it saves.
    dw = (beside.reshape(-1, kC).T @ g_NP).reshape(kC, k, -1)
    return dx, dw.swapaxes(0, 1).reshape(w.shape)


convolution.defvjp(_convolution, _convolution_gradients)


def _sum(parts: Iterable[jax.Array]) -> jax.Array:
    return functools.reduce(operator.add, parts)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def attention(
    q_BHTK: jax.Array, k_BHTK: jax.Array, v_BHTK: jax.Array, causal: bool
) -> jax.Array:
    """Softmax attention of queries that are scaled already, shape (B, H, T, K).

    Weights stay unnormalised (e, not e / Σe), which saves passes over the largest
    arrays; causal rows go in blocks, which saves most of the products that the mask
    would throw away.
    """
    return _attention(q_BHTK, k_BHTK, v_BHTK, causal)[0]


def row_blocks(T: int, causal: bool) -> list[tuple[int, int]]:
    """Start and end of each block of queries; its keys are all those before its end."""
    blocks = ROW_BLOCKS if causal and T % ROW_BLOCKS == 0 else 1
    return [(T // blocks * i, T // blocks * (i + 1)) for i in range(blocks)]


def _attention(
    q: jax.Array, k: jax.Array, v: jax.Array, causal: bool
) -> tuple[jax.Array, AttentionSaved]:
    weights, sums, mixed = [], [], []
    for start, end in row_blocks(q.shape[2], causal):
        scores = _scores(q[:, :, start:end], k[:, :, :end], causal)
        e = jnp.exp(scores - scores.max(axis=-1, keepdims=True))
        weights.append(e.astype(v.dtype))
        sums.append(e.sum(axis=-1, keepdims=True))
        o = jnp.einsum("bhts,bhsk->bhtk", weights[-1], v[:, :, :end])
        mixed.append(o / sums[-1])
    out = jnp.concatenate(mixed, axis=2).astype(v.dtype)
    return out, (q, k, v, weights, jnp.concatenate(sums, axis=2), out)


def _scores(q_BHRK: jax.Array, k_BHSK: jax.Array, causal: bool) -> jax.Array:
    """Float32 (B, H, R, S); the last query stands where the last key does."""
    R, S = q_BHRK.shape[2], k_BHSK.shape[2]
    scores = jnp.einsum(
        "bhtk,bhsk->bhts", q_BHRK, k_BHSK, preferred_element_type=jnp.float32
    )
    if not causal:
        return scores
    return scores + jnp.where(jnp.tri(R, S, S - R, bool), 0.0, -1e30)


def _attention_gradients(
    causal: bool, saved: AttentionSaved, g_BHTK: jax.Array
) -> Saved:
    q, k, v, weights, sums, out = saved
    T, dtype = q.shape[2], v.dtype
    g = g_BHTK / sums
    # What the softmax takes off each row: Σ_s p·dp = g · out.
    common = (g * out).sum(axis=-1, keepdims=True)
    g = g.astype(dtype)
    dq, dk, dv = [], jnp.zeros(()), jnp.zeros(())
    for (start, end), e in zip(row_blocks(T, causal), weights, strict=True):
        rows, ahead = slice(start, end), [(0, 0)] * 3 + [(0, T - end)]
        dp = jnp.einsum(
            "bhtk,bhsk->bhts",
            g[:, :, rows],
            v[:, :, :end],
            preferred_element_type=jnp.float32,
        )
        ds = (e * (dp - common[:, :, rows])).astype(dtype)
        dq.append(jnp.einsum("bhts,bhsk->bhtk", ds, k[:, :, :end]))
        dk += jnp.pad(_turned(q[:, :, rows]) @ ds, ahead)
        dv += jnp.pad(_turned(g[:, :, rows]) @ e, ahead)
    turned = dk.swapaxes(2, 3).astype(dtype), dv.swapaxes(2, 3).astype(dtype)
    return jnp.concatenate(dq, axis=2), *turned


attention.defvjp(_attention, _attention_gradients)
