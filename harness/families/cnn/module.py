"""Plain convolutional network in Flax NNX."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from flax import nnx

from harness import families
from harness.families.layers.convolution import Conv, halve
from harness.families.layers.core import (
    ACTIVATIONS,
    RECTIFIERS,
    Dropout,
    Linear,
    Weights,
)
from harness.specs.task import TaskShape


class CNN(nnx.Module):
    """Images (B, X, Y, C) to outputs (B, O)."""

    def __init__(
        self, spec: families.CNN, task: TaskShape, *, dtype: jnp.dtype, rngs: nnx.Rngs
    ) -> None:
        gain = math.sqrt(2) if spec.activation in RECTIFIERS else 1.0
        linear = functools.partial(
            Linear, bias=spec.bias, weights=Weights.of(spec), dtype=dtype, rngs=rngs
        )
        stages, (*hidden, head) = spec.stages(task), spec.dense(task)
        self.convolutions = nnx.List(
            [
                Conv(
                    s.inputs,
                    s.outputs,
                    kernel=spec.kernel,
                    padding=spec.padding,
                    gain=gain,
                    bias=spec.bias,
                    weights=Weights.of(spec),
                    dtype=dtype,
                    rngs=rngs,
                )
                for s in stages
            ]
        )
        self.hidden = nnx.List([linear(i, o, gain=gain) for i, o in hidden])
        self.head = linear(*head)
        self.pooled = tuple(s.pooled for s in stages)
        self.pool, self.activation = spec.pool, spec.activation
        self.dropout = spec.dropout

    def __call__(self, x_BXYC: jax.Array, key: jax.Array | None = None) -> jax.Array:
        act, drop = ACTIVATIONS[self.activation], Dropout(self.dropout, key)
        for conv, pooled in zip(self.convolutions, self.pooled, strict=True):
            x_BXYC = act(conv(x_BXYC))
            if pooled:
                x_BXYC = halve(x_BXYC, self.pool)
        x_BI = drop(x_BXYC.reshape(x_BXYC.shape[0], -1))
        for layer in self.hidden:
            x_BI = drop(act(layer(x_BI)))
        return self.head(x_BI)
