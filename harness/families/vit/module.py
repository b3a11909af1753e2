"""Vision transformer in Flax NNX."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from harness import families
from harness.families.layers.core import Blocks, Dropout, Linear, RMSNorm, Weights
from harness.families.transformer.module import Attention, Block, FeedForward
from harness.specs.task import TaskShape


class ViT(nnx.Module):
    """Images (B, X, Y, C) to outputs (B, O)."""

    def __init__(
        self, spec: families.ViT, task: TaskShape, *, dtype: jnp.dtype, rngs: nnx.Rngs
    ) -> None:
        D, T, weights = spec.width, spec.patches(task), Weights.of(spec)
        linear = functools.partial(Linear, weights=weights, dtype=dtype, rngs=rngs)
        self.stem = linear(spec.patch**2 * task.inputs, D)
        std = weights.table_std(D)
        self.positions = nnx.Param(std * jax.random.normal(rngs.params(), (T, D)))
        self.blocks = Blocks(
            [_encoder_block(spec, dtype, rngs) for _ in range(spec.depth)]
        )
        self.norm = RMSNorm(D, dtype=dtype)
        self.head = linear(D, task.outputs)
        self.patch, self.dropout = spec.patch, spec.dropout

    def __call__(self, x_BXYC: jax.Array, key: jax.Array | None = None) -> jax.Array:
        drop, B = Dropout(self.dropout, key), x_BXYC.shape[0]
        patches_NI = cut(x_BXYC, self.patch)
        T = self.positions[...].shape[0]
        x_ND = self.stem(patches_NI)
        x_ND = drop(x_ND + jnp.tile(self.positions[...], (B, 1)).astype(x_ND.dtype))
        x_ND = self.blocks.run(x_ND, T, drop)
        return self.head(self.norm(x_ND).reshape(B, T, -1).mean(axis=1))


def cut(x_BXYC: jax.Array, patch: int) -> jax.Array:
    """Images as rows of patch² · C numbers, image by image, patches in order."""
    B, X, Y, C = x_BXYC.shape
    blocks = x_BXYC.reshape(B, X // patch, patch, Y // patch, patch, C)
    return blocks.swapaxes(2, 3).reshape(-1, patch * patch * C)


def _encoder_block(spec: families.ViT, dtype: jnp.dtype, rngs: nnx.Rngs) -> Block:
    attention = Attention(spec, causal=False, rotary=False, dtype=dtype, rngs=rngs)
    feed_forward = FeedForward(spec, gated=False, dtype=dtype, rngs=rngs)
    return Block(spec.width, attention, feed_forward, dtype=dtype)
