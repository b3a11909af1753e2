"""Linear model on fixed random features in Flax NNX."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from harness import families
from harness.specs.task import TaskShape


@functools.lru_cache(maxsize=4)
def projection(inputs: int, width: int, seed: int) -> NDArray[np.float32]:
    """The fixed features, shape (I, width), entries of variance 1 / width."""
    rng = np.random.Generator(np.random.Philox(key=[seed, width]))
    drawn = rng.standard_normal((inputs, width), np.float32)
    return drawn / np.float32(math.sqrt(width))


class RandomFeatures(nnx.Module):
    """Vectors (B, I) to vectors (B, O)."""

    def __init__(
        self,
        spec: families.RandomFeatures,
        task: TaskShape,
        *,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        # From zero, as the theory has it: what is not learned yet is the whole target.
        self.kernel = nnx.Param(jnp.zeros((spec.width, task.outputs)))
        self.features = (task.inputs, spec.width, spec.features_seed)
        self.dtype = dtype

    def __call__(self, x_BI: jax.Array) -> jax.Array:
        features_IF = jnp.asarray(projection(*self.features), self.dtype)
        return (x_BI.astype(self.dtype) @ features_IF) @ self.kernel[...].astype(
            self.dtype
        )
