"""The layers that most families are made of. Activations are flat: rows × features."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

from harness.families.layers import cpu, gpu
from harness.families.layers.spec import Drawn

Role = Literal["input", "hidden", "output"]

ACTIVATIONS = {
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "silu": jax.nn.silu,
}
RECTIFIERS = ("relu", "gelu", "silu")
"""Activations that cut the negative half: He's √2 keeps the variance through them."""


class Penalty(nnx.Variable[jax.Array]):
    """A scalar auxiliary loss, left behind by a forward pass."""


class Monitor(nnx.Variable[jax.Array]):
    """Numbers (B,) worth recording, left behind by a forward pass."""


class Dropout:
    """Zeroes each number with probability `rate` and scales the others by 1/(1 - rate).

    One of these serves one forward pass and draws each mask from a key of its own;
    without a key it changes nothing (Srivastava et al. 2014).
    """

    def __init__(self, rate: float, key: jax.Array | None) -> None:
        self.rate, self.key, self.calls = rate, key, 0

    def __call__(self, x: jax.Array) -> jax.Array:
        # 16 random bits a number are half the work of 32; the rate is rounded to them.
        dropped = round(self.rate * 2**16)
        if self.key is None or not dropped:
            return x
        self.calls += 1
        key = jax.random.fold_in(self.key, self.calls)
        stays = jax.random.bits(key, x.shape, jnp.uint16) >= dropped
        return jnp.where(stays, x / (1 - dropped / 2**16), 0).astype(x.dtype)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """The distribution of a model's first matrices, and their muP multipliers.

    Adam moves every weight by about the learning rate whatever its gradient. Drawn
    `ratio` = width / mup_base times larger and used divided by `ratio`, a hidden matrix
    starts out the same and learns `ratio` times slower, as muP asks; a head besides
    starts √ratio smaller (Yang et al. 2022, table 8).
    """

    init: str = "default"
    sigma: float = 0.0
    ratio: float = 1.0

    @classmethod
    def of(cls, spec: Drawn) -> Weights:
        """The weights of a family's member."""
        base = getattr(spec, "mup_base", 0)
        ratio = getattr(spec, "width", base) / base if base else 1.0
        return cls(init=spec.init, sigma=spec.sigma, ratio=ratio)

    def std(self, inputs: int, outputs: int, gain: float, residual: float) -> float:
        """Standard deviation of a matrix; `gain` over LeCun's is the family's rule."""
        match self.init:
            case "default":
                return gain * residual / math.sqrt(inputs)
            case "lecun":
                return residual / math.sqrt(inputs)
            case "he":
                return residual * math.sqrt(2 / inputs)
            case "glorot":
                return residual * math.sqrt(2 / (inputs + outputs))
            case _:
                return residual * self.sigma

    def table_std(self, width: int) -> float:
        """Standard deviation of a lookup table's rows."""
        return self.sigma or math.sqrt(self.ratio) / math.sqrt(width)

    def scales(self, role: Role) -> tuple[float, float]:
        """Factors on the standard deviation and on the weights in use."""
        drawn = {"input": 1.0, "hidden": self.ratio, "output": math.sqrt(self.ratio)}
        return drawn[role], 1.0 if role == "input" else 1 / self.ratio


LECUN = Weights()


M = TypeVar("M", bound=nnx.Module)


class Blocks(nnx.List[M]):
    """Blocks of a model that come one after another."""

    remat = False
    """Whether a backward pass computes the inside of each block again."""

    def run(self, x: jax.Array, *rest: object) -> jax.Array:
        """The output of the last block; each is called as block(x, *rest)."""

        def call(block: M, x: jax.Array) -> jax.Array:
            y: jax.Array = block(x, *rest)
            return y

        each = nnx.remat(call) if self.remat else call
        for block in self:
            x = each(block, x)
        return x


class Linear(nnx.Module):
    """Matrix product; weights as `weights` says, times `residual`; bias starts at zero.

    `role` says which sides grow with the width: neither or only the outputs ("input"),
    both ("hidden"), or only the inputs ("output").
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        rngs: nnx.Rngs,
        dtype: jnp.dtype,
        gain: float = 1.0,
        residual: float = 1.0,
        bias: bool = False,
        weights: Weights = LECUN,
        role: Role = "input",
        copies: tuple[int, ...] = (),
    ) -> None:
        drawn, self.multiplier = weights.scales(role)
        scale = drawn * weights.std(inputs, outputs, gain, residual)
        shape = (*copies, inputs, outputs)
        self.kernel = nnx.Param(scale * jax.random.normal(rngs.params(), shape))
        self.bias = nnx.Param(jnp.zeros(outputs)) if bias else None
        self.dtype = dtype

    def matrix(self) -> jax.Array:
        """The weights as they are used; `copies` of them if there are several."""
        kernel = self.kernel[...].astype(self.dtype)
        return kernel if self.multiplier == 1 else kernel * self.multiplier

    def __call__(self, x_NI: jax.Array) -> jax.Array:
        x_NI, w_IO = x_NI.astype(self.dtype), self.matrix()
        if cpu.on_cpu():
            return self.shift(cpu.product(x_NI, w_IO))
        return self.shift(x_NI @ w_IO)

    def shift(self, y: jax.Array) -> jax.Array:
        """Adds the bias, if there is one."""
        return y if self.bias is None else y + self.bias[...].astype(self.dtype)


class RMSNorm(nnx.Module):
    """x / rms(x) · gain, computed in float32 (Zhang & Sennrich 2019)."""

    def __init__(self, width: int, *, dtype: jnp.dtype) -> None:
        self.gain = nnx.Param(jnp.ones(width))
        self.dtype = dtype

    def __call__(self, x_ND: jax.Array) -> jax.Array:
        x = x_ND.astype(jnp.float32)
        inverse = jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6)
        return (x * inverse * self.gain[...]).astype(self.dtype)


def rotate(x_BTHK: jax.Array, first: jax.Array | None = None) -> jax.Array:
    """Rotary positions, base 10,000, halves as pairs (Su et al. 2021).

    They are 0, 1, …, or begin at `first`.
    """
    T, K = x_BTHK.shape[1], x_BTHK.shape[3]
    frequency = 10_000.0 ** (-jnp.arange(K // 2) / (K // 2))
    position_T = jnp.arange(T) if first is None else first + jnp.arange(T)
    angle = position_T[:, None] * frequency
    cos, sin = jnp.cos(angle)[:, None, :], jnp.sin(angle)[:, None, :]
    a, b = jnp.split(x_BTHK.astype(jnp.float32), 2, axis=-1)
    out = jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)
    return out.astype(x_BTHK.dtype)


def attention(
    q_BTHK: jax.Array, k_BTGK: jax.Array, v_BTGK: jax.Array, *, causal: bool
) -> jax.Array:
    """Softmax attention, softmax in float32; shape (B, T, H, K).

    H / G query heads share each key/value head (Ainslie et al. 2023). Results are those
    of the plain form up to rounding, whichever kernel computes them.
    """
    T, H, K = q_BTHK.shape[1:]
    if gpu.has_fused_attention(q_BTHK):
        return jax.nn.dot_product_attention(
            q_BTHK, k_BTGK, v_BTGK, is_causal=causal, implementation="cudnn"
        )
    shared = H // k_BTGK.shape[2]
    # Heads next to the batch: contiguous matrix products, the fast layout on CPU.
    q = (q_BTHK / math.sqrt(K)).transpose(0, 2, 1, 3)
    k = jnp.repeat(k_BTGK, shared, axis=2).transpose(0, 2, 1, 3)
    v = jnp.repeat(v_BTGK, shared, axis=2).transpose(0, 2, 1, 3)
    if cpu.on_cpu():
        return cpu.attention(q, k, v, causal).transpose(0, 2, 1, 3)
    scores_BHTT = jnp.einsum(
        "bhtk,bhsk->bhts", q, k, preferred_element_type=jnp.float32
    )
    if causal:
        scores_BHTT += jnp.where(jnp.tril(jnp.ones((T, T), bool)), 0.0, -1e30)
    weights_BHTT = jax.nn.softmax(scores_BHTT, axis=-1).astype(v.dtype)
    return jnp.einsum("bhts,bhsk->bhtk", weights_BHTT, v).transpose(0, 2, 1, 3)


def attend_last(
    q_BHK: jax.Array, k_BTGK: jax.Array, v_BTGK: jax.Array, position: jax.Array
) -> jax.Array:
    """Attention of one query at `position` to the keys up to it; shape (B, H, K).

    It is a row of `attention` with `causal`, up to rounding.
    """
    B, H, K = q_BHK.shape
    T, G = k_BTGK.shape[1:3]
    q_BGRK = (q_BHK / math.sqrt(K)).reshape(B, G, H // G, K)
    scores_BGRT = jnp.einsum(
        "bgrk,btgk->bgrt", q_BGRK, k_BTGK, preferred_element_type=jnp.float32
    )
    scores_BGRT += jnp.where(jnp.arange(T) <= position, 0.0, -1e30)
    weights_BGRT = jax.nn.softmax(scores_BGRT, axis=-1).astype(v_BTGK.dtype)
    return jnp.einsum("bgrt,btgk->bgrk", weights_BGRT, v_BTGK).reshape(B, H, K)
