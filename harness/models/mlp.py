"""Multi-layer perceptron in Flax NNX."""

from __future__ import annotations

import math
from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx

from harness import families
from harness.models.layers import Linear
from harness.spec import TaskShape

ACTIVATIONS = {"relu": jax.nn.relu, "gelu": jax.nn.gelu, "tanh": jnp.tanh}


class MLP(nnx.Module):
    """Vectors (B, I) to vectors (B, O)."""

    def __init__(
        self, spec: families.MLP, task: TaskShape, *, dtype: jnp.dtype, rngs: nnx.Rngs
    ) -> None:
        # He's √2 keeps the variance through rectified layers, not through tanh.
        gain = 1.0 if spec.activation == "tanh" else math.sqrt(2)
        *hidden, (last, outputs) = pairwise(spec.layer_widths(task))
        self.hidden = nnx.List(
            [
                Linear(i, o, gain=gain, bias=spec.bias, dtype=dtype, rngs=rngs)
                for i, o in hidden
            ]
        )
        self.head = Linear(last, outputs, bias=spec.bias, dtype=dtype, rngs=rngs)
        self.activation = spec.activation

    def __call__(self, x_BI: jax.Array) -> jax.Array:
        act = ACTIVATIONS[self.activation]
        for layer in self.hidden:
            x_BI = act(layer(x_BI))
        return self.head(x_BI)
