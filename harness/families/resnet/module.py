"""Residual convolutional network in Flax NNX."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from harness import families
from harness.families.layers.convolution import Conv, GroupNorm
from harness.families.layers.core import Blocks, Dropout, Linear, Weights
from harness.families.resnet.spec import ResidualBlock
from harness.specs.task import TaskShape


class Block(nnx.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))), both paths strided alike."""

    def __init__(
        self,
        shape: ResidualBlock,
        spec: families.ResNet,
        *,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        conv = functools.partial(Conv, weights=Weights.of(spec), dtype=dtype, rngs=rngs)
        i, o = shape.inputs, shape.outputs
        self.norm1 = GroupNorm(i, spec.groups, dtype=dtype)
        self.conv1 = conv(i, o, stride=shape.stride)
        self.norm2 = GroupNorm(o, spec.groups, dtype=dtype)
        self.conv2 = conv(o, o)
        self.shortcut = (
            conv(i, o, kernel=1, stride=shape.stride, gain=1.0)
            if shape.projected
            else None
        )

    def __call__(self, x_BXYC: jax.Array, drop: Dropout) -> jax.Array:
        first = jax.nn.relu(self.norm1(x_BXYC))
        y_BXYC = jax.nn.relu(self.norm2(self.conv1(first)))
        if self.shortcut is not None:
            # A changed shape has no identity: the projection reads what conv1 reads.
            x_BXYC = self.shortcut(first)
        return x_BXYC + self.conv2(drop(y_BXYC))


class ResNet(nnx.Module):
    """Images (B, X, Y, C) to outputs (B, O)."""

    def __init__(
        self,
        spec: families.ResNet,
        task: TaskShape,
        *,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        weights, layout = Weights.of(spec), spec.layout()
        self.stem = Conv(
            task.inputs, spec.width, gain=1.0, weights=weights, dtype=dtype, rngs=rngs
        )
        self.blocks = Blocks(
            [Block(shape, spec, dtype=dtype, rngs=rngs) for shape in layout]
        )
        features = layout[-1].outputs
        self.norm = GroupNorm(features, spec.groups, dtype=dtype)
        self.head = Linear(
            features, task.outputs, bias=True, weights=weights, dtype=dtype, rngs=rngs
        )
        self.dropout = spec.dropout

    def __call__(self, x_BXYC: jax.Array, key: jax.Array | None = None) -> jax.Array:
        drop = Dropout(self.dropout, key)
        x_BXYC = self.stem(x_BXYC)
        x_BXYC = self.blocks.run(x_BXYC, drop)
        return self.head(jax.nn.relu(self.norm(x_BXYC)).mean(axis=(1, 2)))
