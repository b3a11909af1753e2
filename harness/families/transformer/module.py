"""Decoder-only transformer in Flax NNX, and the blocks it shares with the encoder."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from flax import nnx

from harness import families
from harness.families.layers.core import (
    Blocks,
    Dropout,
    Linear,
    RMSNorm,
    Weights,
    attend_last,
    attention,
    rotate,
)
from harness.families.transformer.experts import Experts
from harness.specs.task import TaskShape

Cache = tuple[jax.Array, jax.Array]
"""Keys and values of the positions so far (B, T, G, K)."""
BlockCache = tuple[Cache, jax.Array | None]
"""The cache of attention, and that of a mixture of experts."""


class Attention(nnx.Module):
    """Self-attention; one product makes queries, keys and values."""

    def __init__(
        self,
        spec: families.Transformer | families.ViT,
        *,
        causal: bool,
        rotary: bool,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        D, K = spec.width, spec.head_size
        self.sizes = (spec.heads, spec.groups, K)
        self.causal, self.rotary = causal, rotary
        fused = (spec.heads + 2 * spec.groups) * K
        linear = _hidden_linear(spec, dtype, rngs)
        self.qkv = linear(D, fused)
        self.out = linear(D, D, residual=_residual_gain(spec))

    def __call__(self, x_ND: jax.Array, T: int) -> jax.Array:
        H, G, K = self.sizes
        qkv = self.qkv(x_ND).reshape(-1, T, H + 2 * G, K)
        q_BTHK, k_BTGK, v_BTGK = jnp.split(qkv, [H, H + G], axis=2)
        if self.rotary:
            q_BTHK, k_BTGK = rotate(q_BTHK), rotate(k_BTGK)
        mixed = attention(q_BTHK, k_BTGK, v_BTGK, causal=self.causal)
        return self.out(mixed.reshape(-1, H * K))

    def empty(self, B: int, T: int) -> Cache:
        """Room for the keys and values of T positions, of B sequences."""
        _, G, K = self.sizes
        zeros_BTGK = jnp.zeros((B, T, G, K), self.qkv.dtype)
        return zeros_BTGK, zeros_BTGK

    def step(
        self, x_BD: jax.Array, position: jax.Array, cache: Cache
    ) -> tuple[jax.Array, Cache]:
        """The output at one position, given those before it."""
        H, G, K = self.sizes
        qkv = self.qkv(x_BD).reshape(-1, 1, H + 2 * G, K)
        q_B1HK, k_B1GK, v_B1GK = jnp.split(qkv, [H, H + G], axis=2)
        if self.rotary:
            q_B1HK, k_B1GK = rotate(q_B1HK, position), rotate(k_B1GK, position)
        write = functools.partial(jax.lax.dynamic_update_slice_in_dim, axis=1)
        k_BTGK = write(cache[0], k_B1GK, position)
        v_BTGK = write(cache[1], v_B1GK, position)
        mixed = attend_last(q_B1HK[:, 0], k_BTGK, v_BTGK, position)
        return self.out(mixed.reshape(-1, H * K)), (k_BTGK, v_BTGK)


class FeedForward(nnx.Module):
    """GELU (2 matrices) or SwiGLU (3 matrices, Shazeer 2020)."""

    def __init__(
        self,
        spec: families.Transformer | families.ViT,
        *,
        gated: bool,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        D, F = spec.width, spec.hidden
        self.gated = gated
        linear = _hidden_linear(spec, dtype, rngs)
        self.up = linear(D, F * (2 if self.gated else 1))
        self.down = linear(F, D, residual=_residual_gain(spec))

    def __call__(self, x_ND: jax.Array, T: int) -> jax.Array:
        h_NF = self.up(x_ND)
        if self.gated:
            gate_NF, h_NF = jnp.split(h_NF, 2, axis=-1)
            return self.down(jax.nn.silu(gate_NF) * h_NF)
        return self.down(jax.nn.gelu(h_NF))


class Block(nnx.Module):
    """Pre-norm residual block."""

    def __init__(
        self,
        width: int,
        attention: Attention,
        feed_forward: FeedForward | Experts,
        *,
        dtype: jnp.dtype,
    ) -> None:
        self.norm1 = RMSNorm(width, dtype=dtype)
        self.attention = attention
        self.norm2 = RMSNorm(width, dtype=dtype)
        self.feed_forward = feed_forward

    def __call__(self, x_ND: jax.Array, T: int, drop: Dropout) -> jax.Array:
        x_ND += drop(self.attention(self.norm1(x_ND), T))
        return x_ND + drop(self.feed_forward(self.norm2(x_ND), T))

    def empty(self, B: int, T: int) -> BlockCache:
        """A cache for T positions of B sequences."""
        part = self.feed_forward
        choices = part.empty(B) if isinstance(part, Experts) else None
        return self.attention.empty(B, T), choices

    def step(
        self, x_BD: jax.Array, position: jax.Array, cache: BlockCache
    ) -> tuple[jax.Array, BlockCache]:
        """The output at one position, given those before it."""
        attended, choices = cache
        y_BD, attended = self.attention.step(self.norm1(x_BD), position, attended)
        x_BD += y_BD
        if isinstance(self.feed_forward, Experts):
            assert choices is not None
            y_BD, choices = self.feed_forward.step(self.norm2(x_BD), choices)
        else:
            y_BD = self.feed_forward(self.norm2(x_BD), 1)
        return x_BD + y_BD, (attended, choices)


def _decoder_block(
    spec: families.Transformer, task: TaskShape, dtype: jnp.dtype, rngs: nnx.Rngs
) -> Block:
    rotary = spec.positions == "rotary"
    attention = Attention(spec, causal=True, rotary=rotary, dtype=dtype, rngs=rngs)
    feed_forward: nnx.Module
    if spec.experts:
        residual = _residual_gain(spec)
        feed_forward = Experts(spec, task, residual=residual, dtype=dtype, rngs=rngs)
    else:
        gated = spec.mlp == "swiglu"
        feed_forward = FeedForward(spec, gated=gated, dtype=dtype, rngs=rngs)
    return Block(spec.width, attention, feed_forward, dtype=dtype)


class Transformer(nnx.Module):
    """Token ids (B, T) to logits: (B, T, V), or (B, V) of a class."""

    def __init__(
        self,
        spec: families.Transformer,
        task: TaskShape,
        *,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        D, V, weights = spec.width, task.inputs, Weights.of(spec)
        # A tied table is also the head: LeCun scale there keeps first logits near 0.
        scale = weights.table_std(D)
        self.embed = nnx.Param(scale * jax.random.normal(rngs.params(), (V, D)))
        learned = spec.positions == "learned"
        shape = (task.length, D)
        self.positions = (
            nnx.Param(scale * jax.random.normal(rngs.params(), shape))
            if learned
            else None
        )
        blocks = [_decoder_block(spec, task, dtype, rngs) for _ in range(spec.depth)]
        self.blocks = Blocks(blocks)
        self.norm = RMSNorm(D, dtype=dtype)
        linear = functools.partial(Linear, weights=weights, dtype=dtype, rngs=rngs)
        self.head = None if spec.tied else linear(D, task.outputs, role="output")
        self.scale = weights.scales("output")[1]
        self.every_step, self.length = task.target == "next_token", task.length
        self.dropout, self.dtype = spec.dropout, dtype

    def __call__(self, tokens_BT: jax.Array, key: jax.Array | None = None) -> jax.Array:
        (B, T), drop = tokens_BT.shape, Dropout(self.dropout, key)
        x_ND = self.embed[...][tokens_BT.reshape(-1)].astype(self.dtype)
        if self.positions is not None:
            x_ND += jnp.tile(self.positions[...][:T], (B, 1)).astype(self.dtype)
        x_ND = drop(x_ND)
        x_ND = self.blocks.run(x_ND, T, drop)
        if not self.every_step:
            return self._logits(self.norm(x_ND.reshape(B, T, -1)[:, -1]))
        return self._logits(self.norm(x_ND)).reshape(B, T, -1)

    def empty(self, B: int) -> list[BlockCache]:
        """A cache for as many positions as the model is trained on."""
        return [block.empty(B, self.length) for block in self.blocks]

    def step(
        self, tokens_B: jax.Array, position: jax.Array, cache: list[BlockCache]
    ) -> tuple[jax.Array, list[BlockCache]]:
        """Logits (B, V) after the token at `position`, given those before it."""
        x_BD = self.embed[...][tokens_B].astype(self.dtype)
        if self.positions is not None:
            x_BD += self.positions[...][position].astype(self.dtype)
        caches = []
        for block, before in zip(self.blocks, cache, strict=True):
            x_BD, after = block.step(x_BD, position, before)
            caches.append(after)
        return self._logits(self.norm(x_BD)), caches

    def _logits(self, x_ND: jax.Array) -> jax.Array:
        if self.head is not None:
            return self.head(x_ND)
        logits_NV = x_ND @ self.embed[...].T.astype(self.dtype)
        return logits_NV if self.scale == 1 else logits_NV * self.scale


def _hidden_linear(
    spec: families.Transformer | families.ViT, dtype: jnp.dtype, rngs: nnx.Rngs
) -> functools.partial[Linear]:
    weights = Weights.of(spec)
    return functools.partial(
        Linear, weights=weights, role="hidden", dtype=dtype, rngs=rngs
    )


def _residual_gain(spec: families.Transformer | families.ViT) -> float:
    """GPT-2's scaling of the matrices that write to the residual stream."""
    return 1 / math.sqrt(2 * spec.depth)
