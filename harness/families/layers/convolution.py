"""Convolution, pooling and normalisation of images (B, X, Y, C)."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx

from harness.families.layers import cpu
from harness.families.layers.core import Linear, Weights
from harness.families.layers.spec import convolved


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
        return self.as_matmul(x_BXYC) if cpu.on_cpu() else self.as_convolution(x_BXYC)

    def as_matmul(self, x_BXYC: jax.Array) -> jax.Array:
        """One matrix product over copies of pixels, for CPUs.

        There it is faster forward and backward: inside a loop, which training is, XLA's
        own convolution was measured 3 to 50 times slower than outside of one.
        """
        k, s = self.sizes
        matrix = self.matrix.matrix()
        x_BXYC = x_BXYC.astype(matrix.dtype)
        if self.padding == "same":
            x_BXYC = jnp.pad(x_BXYC, [(0, 0), *_borders(x_BXYC, k, s), (0, 0)])
        inputs, outputs = x_BXYC.shape[-1], matrix.shape[-1]
        # Fewer numbers a pixel than whole patches: k·(C + O) against k²·C.
        if k > 1 and s == 1 and outputs < 2 * inputs:
            return self.matrix.shift(cpu.convolution(x_BXYC, matrix, k))
        patches_BXYI = _patches(x_BXYC, k, s)
        rows = patches_BXYI.shape[:3]
        # Not by `cpu.product`: the copy it makes of so many patches costs more than it
        # saves.
        y_NO = patches_BXYI.reshape(-1, k**2 * inputs) @ matrix
        return self.matrix.shift(y_NO).reshape(*rows, outputs)

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


def _patches(x_BXYC: jax.Array, kernel: int, stride: int) -> jax.Array:
    """Every k×k patch of images that are padded already: (B, X', Y', k²·C)."""
    X, Y = (convolved(n, kernel, stride, "valid") for n in x_BXYC.shape[1:3])
    ends = [(X - 1) * stride + 1, (Y - 1) * stride + 1]
    shifted = [
        x_BXYC[:, i : i + ends[0] : stride, j : j + ends[1] : stride]
        for i in range(kernel)
        for j in range(kernel)
    ]
    return jnp.concatenate(shifted, axis=-1)


def _borders(x_BXYC: jax.Array, kernel: int, stride: int) -> list[tuple[int, int]]:
    """Zeros before and after each side, so that the output has side / stride pixels."""
    out = []
    for side in x_BXYC.shape[1:3]:
        last = (convolved(side, kernel, stride, "same") - 1) * stride
        zeros = max(last + kernel - side, 0)
        out.append((zeros // 2, zeros - zeros // 2))
    return out


def halve(x_BXYC: jax.Array, pool: str) -> jax.Array:
    """2×2 pooling with stride 2, "max" or "mean"; an odd last row or column is lost."""
    B, X, Y, C = x_BXYC.shape
    even = x_BXYC[:, : X // 2 * 2, : Y // 2 * 2]
    windows = even.reshape(B, X // 2, 2, Y // 2, 2, C)
    return windows.max(axis=(2, 4)) if pool == "max" else windows.mean(axis=(2, 4))


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
        x_BPC = x_BXYC.astype(jnp.float32).reshape(B, X * Y, C)
        x_BPC = x_BPC - self._mean(x_BPC)
        gain_B1C = jax.lax.rsqrt(self._mean(jnp.square(x_BPC)) + 1e-5) * self.gain[...]
        x_BPC = x_BPC * gain_B1C + self.shift[...]
        return x_BPC.astype(self.dtype).reshape(B, X, Y, C)

    def _mean(self, x_BPC: jax.Array) -> jax.Array:
        """Mean over pixels and the channels of a group, at each channel: (B, 1, C).

        First over the pixels alone: over both at once XLA took 4 to 8 times as long on
        a CPU.
        """
        B, _, C = x_BPC.shape
        groups_BGC = x_BPC.mean(axis=1).reshape(B, self.groups, -1)
        mean_BG1 = groups_BGC.mean(axis=-1, keepdims=True)
        return jnp.broadcast_to(mean_BG1, groups_BGC.shape).reshape(B, 1, C)
