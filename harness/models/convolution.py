"""Convolution, pooling and normalisation of images (B, X, Y, C)."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx

from harness.families.common import convolved
from harness.models.layers import Linear, Weights


class Conv(nnx.Module):
    """k×k convolution; weights as in `Linear` with k²·C inputs, kept as its matrix."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        rngs: nnx.Rngs,
        dtype: jnp.dtype,
        weights: Weights,
        kernel: int = 3,
        stride: int = 1,
        padding: str = "same",
        gain: float = math.sqrt(2),
        bias: bool = False,
    ) -> None:
        self.matrix = Linear(
            kernel**2 * inputs,
            outputs,
            gain=gain,
            bias=bias,
            weights=weights,
            dtype=dtype,
            rngs=rngs,
        )
        self.sizes = (kernel, stride)
        self.padding = padding

    def __call__(self, x_BXYC: jax.Array) -> jax.Array:
        if jax.default_backend() == "cpu":
            return self.as_matmul(x_BXYC)
        return self.as_convolution(x_BXYC)

    def as_matmul(self, x_BXYC: jax.Array) -> jax.Array:
        """A matrix product over all k×k patches, k² copies of the image.

        On CPU this is faster forward and backward: inside a loop, which training is,
        XLA's own convolution was measured 3 to 50 times slower than outside of one.
        """
        k, s = self.sizes
        B, X, Y, _ = x_BXYC.shape
        X, Y = (convolved(side, k, s, self.padding) for side in (X, Y))
        if self.padding == "same":
            x_BXYC = jnp.pad(x_BXYC, [(0, 0), *_borders(x_BXYC, k, s), (0, 0)])
        shifted = [
            x_BXYC[:, i : i + (X - 1) * s + 1 : s, j : j + (Y - 1) * s + 1 : s]
            for i in range(k)
            for j in range(k)
        ]
        patches_BXYI = jnp.concatenate(shifted, axis=-1)
        matrix = self.matrix.matrix()
        patches_NI = patches_BXYI.reshape(B * X * Y, -1).astype(matrix.dtype)
        # Not by `cpu.product`: the copy it makes of so many patches costs more than it
        # saves.
        return self.matrix.shift(patches_NI @ matrix).reshape(B, X, Y, -1)

    def as_convolution(self, x_BXYC: jax.Array) -> jax.Array:
        """The compiler's convolution, for accelerators."""
        k, s = self.sizes
        matrix = self.matrix.matrix()
        y_BXYO = jax.lax.conv_general_dilated(
            x_BXYC.astype(matrix.dtype),
            matrix.reshape(k, k, -1, matrix.shape[-1]),
            (s, s),
            self.padding.upper(),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return self.matrix.shift(y_BXYO)


def _borders(x_BXYC: jax.Array, kernel: int, stride: int) -> list[tuple[int, int]]:
    """Zeros before and after each side, so that the output has side / stride pixels."""
    out = []
    for side in x_BXYC.shape[1:3]:
        last = (convolved(side, kernel, stride, "same") - 1) * stride
        zeros = max(last + kernel - side, 0)
        out.append((zeros // 2, zeros - zeros // 2))
    return out


def halve(x_BXYC: jax.Array, how: str) -> jax.Array:
    """2×2 pooling with stride 2, "max" or "mean"; an odd last row or column is lost."""
    B, X, Y, C = x_BXYC.shape
    even = x_BXYC[:, : X // 2 * 2, : Y // 2 * 2]
    windows = even.reshape(B, X // 2, 2, Y // 2, 2, C)
    return windows.max(axis=(2, 4)) if how == "max" else windows.mean(axis=(2, 4))


class GroupNorm(nnx.Module):
    """Zero mean and unit variance over the pixels and channels of each group, then gain
    and shift, in float32 (Wu & He 2018, arXiv:1803.08494)."""

    def __init__(self, channels: int, groups: int, *, dtype: jnp.dtype) -> None:
        self.gain = nnx.Param(jnp.ones(channels))
        self.shift = nnx.Param(jnp.zeros(channels))
        self.groups = groups
        self.dtype = dtype

    def __call__(self, x_BXYC: jax.Array) -> jax.Array:
        B, X, Y, C = x_BXYC.shape
        x = x_BXYC.astype(jnp.float32).reshape(B, X * Y, self.groups, -1)
        mean = x.mean(axis=(1, 3), keepdims=True)
        variance = jnp.square(x - mean).mean(axis=(1, 3), keepdims=True)
        x = ((x - mean) * jax.lax.rsqrt(variance + 1e-5)).reshape(B, X, Y, C)
        return (x * self.gain[...] + self.shift[...]).astype(self.dtype)
