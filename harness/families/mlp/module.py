"""Multi-layer perceptron in Flax NNX."""

from __future__ import annotations

import math
from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx

from harness import families
from harness.families.layers.core import (
    ACTIVATIONS,
    RECTIFIERS,
    Dropout,
    Linear,
    Weights,
)
from harness.specs.task import TaskShape


class MLP(nnx.Module):
    """Vectors (B, I), or whatever flattens to them, to vectors (B, O)."""

    def __init__(
        self, spec: families.MLP, task: TaskShape, *, dtype: jnp.dtype, rngs: nnx.Rngs
    ) -> None:
        weights = Weights.of(spec)
        gain = math.sqrt(2) if spec.activation in RECTIFIERS else 1.0
        *hidden, (last, outputs) = pairwise(spec.layer_widths(task))
        self.hidden = nnx.List(
            [
                Linear(
                    i,
                    o,
                    gain=gain,
                    bias=spec.bias,
                    weights=weights,
                    role="hidden" if index else "input",
                    dtype=dtype,
                    rngs=rngs,
                )
                for index, (i, o) in enumerate(hidden)
            ]
        )
        self.head = Linear(
            last,
            outputs,
            bias=spec.bias,
            weights=weights,
            role="output",
            dtype=dtype,
            rngs=rngs,
        )
        self.activation = spec.activation
        self.dropout = spec.dropout

    def __call__(self, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        act, drop = ACTIVATIONS[self.activation], Dropout(self.dropout, key)
        x_BI = x.reshape(x.shape[0], -1)
        for layer in self.hidden:
            x_BI = drop(act(layer(x_BI)))
        return self.head(x_BI)
