"""Decoder-only transformer in Flax NNX."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx

from harness import families
from harness.models.layers import Linear, RMSNorm, causal_attention, rotate
from harness.spec import TaskShape


class Attention(nnx.Module):
    """Causal self-attention; one product makes queries, keys and values."""

    def __init__(
        self, spec: families.Transformer, *, dtype: jnp.dtype, rngs: nnx.Rngs
    ) -> None:
        D, K = spec.width, spec.head_size
        self.sizes = (spec.heads, spec.groups, K)
        self.rotary = spec.positions == "rotary"
        fused = (spec.heads + 2 * spec.groups) * K
        self.qkv = Linear(D, fused, dtype=dtype, rngs=rngs)
        self.out = Linear(D, D, dtype=dtype, rngs=rngs, gain=_residual_gain(spec))

    def __call__(self, x_ND: jax.Array, T: int) -> jax.Array:
        H, G, K = self.sizes
        qkv = self.qkv(x_ND).reshape(-1, T, H + 2 * G, K)
        q_BTHK, k_BTGK, v_BTGK = jnp.split(qkv, [H, H + G], axis=2)
        if self.rotary:
            q_BTHK, k_BTGK = rotate(q_BTHK), rotate(k_BTGK)
        mixed = causal_attention(q_BTHK, k_BTGK, v_BTGK)
        return self.out(mixed.reshape(-1, H * K))


class FeedForward(nnx.Module):
    """GELU (2 matrices) or SwiGLU (3 matrices, Shazeer 2020)."""

    def __init__(
        self, spec: families.Transformer, *, dtype: jnp.dtype, rngs: nnx.Rngs
    ) -> None:
        D, F = spec.width, spec.hidden
        self.gated = spec.mlp == "swiglu"
        self.up = Linear(D, F * (2 if self.gated else 1), dtype=dtype, rngs=rngs)
        self.down = Linear(F, D, dtype=dtype, rngs=rngs, gain=_residual_gain(spec))

    def __call__(self, x_ND: jax.Array) -> jax.Array:
        h_NF = self.up(x_ND)
        if self.gated:
            gate_NF, h_NF = jnp.split(h_NF, 2, axis=-1)
            return self.down(jax.nn.silu(gate_NF) * h_NF)
        return self.down(jax.nn.gelu(h_NF))


class Block(nnx.Module):
    """Pre-norm residual block."""

    def __init__(
        self, spec: families.Transformer, *, dtype: jnp.dtype, rngs: nnx.Rngs
    ) -> None:
        self.norm1 = RMSNorm(spec.width, dtype=dtype)
        self.attention = Attention(spec, dtype=dtype, rngs=rngs)
        self.norm2 = RMSNorm(spec.width, dtype=dtype)
        self.feed_forward = FeedForward(spec, dtype=dtype, rngs=rngs)

    def __call__(self, x_ND: jax.Array, T: int) -> jax.Array:
        x_ND += self.attention(self.norm1(x_ND), T)
        return x_ND + self.feed_forward(self.norm2(x_ND))


class Transformer(nnx.Module):
    """Token ids (B, T) to next-token logits (B, T, V)."""

    def __init__(
        self,
        spec: families.Transformer,
        task: TaskShape,
        *,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        D, V = spec.width, task.inputs
        # A tied table is also the head: LeCun scale there keeps first logits near 0.
        scale = 1 / math.sqrt(D)
        self.embed = nnx.Param(scale * jax.random.normal(rngs.params(), (V, D)))
        learned = spec.positions == "learned"
        shape = (task.length, D)
        self.positions = (
            nnx.Param(scale * jax.random.normal(rngs.params(), shape))
            if learned
            else None
        )
        blocks = [Block(spec, dtype=dtype, rngs=rngs) for _ in range(spec.depth)]
        self.blocks = nnx.List(blocks)
        self.norm = RMSNorm(D, dtype=dtype)
        self.head = None if spec.tied else Linear(D, V, dtype=dtype, rngs=rngs)
        self.dtype = dtype

    def __call__(self, tokens_BT: jax.Array) -> jax.Array:
        B, T = tokens_BT.shape
        x_ND = self.embed[...][tokens_BT.reshape(-1)].astype(self.dtype)
        if self.positions is not None:
            x_ND += jnp.tile(self.positions[...][:T], (B, 1)).astype(self.dtype)
        for block in self.blocks:
            x_ND = block(x_ND, T)
        x_ND = self.norm(x_ND)
        if self.head is None:
            logits_NV = x_ND @ self.embed[...].T.astype(self.dtype)
        else:
            logits_NV = self.head(x_ND)
        return logits_NV.reshape(B, T, -1)


def _residual_gain(spec: families.Transformer) -> float:
    """GPT-2's scaling of the matrices that write to the residual stream."""
    return 1 / math.sqrt(2 * spec.depth)
