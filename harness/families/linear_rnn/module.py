"""Gated linear recurrence in Flax NNX."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from flax import nnx

from harness import families
from harness.families.layers.core import Blocks, Dropout, Linear, RMSNorm, Weights
from harness.families.layers.plain import are_plain
from harness.specs.task import TaskShape

Pair = tuple[jax.Array, jax.Array]


@jax.custom_vjp
def recurrence(a_TBD: jax.Array, b_TBD: jax.Array) -> jax.Array:
    """h_t = a_t·h_(t-1) + b_t from h_0 = 0, for all t at once: shape (T, B, D).

    Its gradient is the same recurrence backwards in time, so that nothing inside of
    the scan is kept for it.
    """
    return _scan(a_TBD, b_TBD, reverse=False)


def _scan(a_TBD: jax.Array, b_TBD: jax.Array, *, reverse: bool) -> jax.Array:
    def after(first: Pair, second: Pair) -> Pair:
        (a1, b1), (a2, b2) = first, second
        return a1 * a2, a2 * b1 + b2

    scanned: Pair
    scanned = jax.lax.associative_scan(after, (a_TBD, b_TBD), reverse=reverse)
    return scanned[1]


def _forward(a_TBD: jax.Array, b_TBD: jax.Array) -> tuple[jax.Array, Pair]:
    h_TBD = recurrence(a_TBD, b_TBD)
    return h_TBD, (a_TBD, h_TBD)


def _backward(saved: Pair, dh_TBD: jax.Array) -> Pair:
    a_TBD, h_TBD = saved
    zero = jnp.zeros_like(a_TBD[:1])
    later_a = jnp.concatenate([a_TBD[1:], zero])
    db_TBD = _scan(later_a, dh_TBD, reverse=True)
    return db_TBD * jnp.concatenate([zero, h_TBD[:-1]]), db_TBD


recurrence.defvjp(_forward, _backward)


def stepwise(a_TBD: jax.Array, b_TBD: jax.Array) -> jax.Array:
    """The same recurrence, one step of time after another."""

    def step(h_BD: jax.Array, now: Pair) -> Pair:
        a_BD, b_BD = now
        h_BD = a_BD * h_BD + b_BD
        return h_BD, h_BD

    zeros_BD = jnp.zeros_like(b_TBD[0])
    h_TBD: jax.Array = jax.lax.scan(step, zeros_BD, (a_TBD, b_TBD))[1]
    return h_TBD


class Mixer(nnx.Module):
    """The gated recurrence over time; one product makes a, c and the output gate."""

    def __init__(
        self,
        spec: families.LinearRNN,
        task: TaskShape,
        *,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        D, weights = spec.width, Weights.of(spec)
        linear = functools.partial(Linear, weights=weights, dtype=dtype, rngs=rngs)
        self.enter = linear(D, 3 * D)
        self.forget = nnx.Param(_forget_bias(D, task.length))
        self.out = linear(D, D, residual=1 / math.sqrt(2 * spec.depth))
        self.dtype = dtype

    def __call__(self, x_ND: jax.Array, T: int) -> jax.Array:
        a_ND, b_ND, gate_ND = self._gates(x_ND)
        shape = (T, -1, a_ND.shape[-1])
        over_time = stepwise if are_plain() else recurrence
        h_TBD = over_time(a_ND.reshape(shape), b_ND.reshape(shape))
        return self._output(h_TBD.reshape(a_ND.shape), gate_ND)

    def step(self, x_BD: jax.Array, h_BD: jax.Array) -> Pair:
        """The output at one more step, and the state after it."""
        a_BD, b_BD, gate_BD = self._gates(x_BD)
        h_BD = a_BD * h_BD + b_BD
        return self._output(h_BD, gate_BD), h_BD

    def _gates(self, x_ND: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """What is kept of the state, what is added to it, and the output's gate."""
        a_ND, c_ND, gate_ND = jnp.split(self.enter(x_ND), 3, axis=-1)
        # Products of many a: float32, whatever the precision of the matrices.
        a_ND = jax.nn.sigmoid(a_ND.astype(jnp.float32) + self.forget[...])
        b_ND = (1 - a_ND) * c_ND.astype(jnp.float32)
        return a_ND, b_ND, gate_ND

    def _output(self, h_ND: jax.Array, gate_ND: jax.Array) -> jax.Array:
        return self.out(h_ND.astype(self.dtype) * jax.nn.silu(gate_ND))


def _forget_bias(width: int, T: int) -> jax.Array:
    """Memories of 2 … T steps (at least 4), spread evenly in log over the channels."""
    steps = jnp.exp(jnp.linspace(math.log(2), math.log(max(4, T)), width))
    return jnp.log(steps - 1)


class Block(nnx.Module):
    """Pre-norm residual block: recurrence, then feed-forward."""

    def __init__(
        self,
        spec: families.LinearRNN,
        task: TaskShape,
        *,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        D, F, weights = spec.width, spec.hidden, Weights.of(spec)
        linear = functools.partial(Linear, weights=weights, dtype=dtype, rngs=rngs)
        self.norm1 = RMSNorm(D, dtype=dtype)
        self.mixer = Mixer(spec, task, dtype=dtype, rngs=rngs)
        self.norm2 = RMSNorm(D, dtype=dtype)
        self.up = linear(D, F)
        self.down = linear(F, D, residual=1 / math.sqrt(2 * spec.depth))

    def __call__(self, x_ND: jax.Array, T: int, drop: Dropout) -> jax.Array:
        x_ND += drop(self.mixer(self.norm1(x_ND), T))
        return x_ND + drop(self._feed_forward(x_ND))

    def step(self, x_BD: jax.Array, h_BD: jax.Array) -> Pair:
        """The output at one more step, and the state after it."""
        y_BD, h_BD = self.mixer.step(self.norm1(x_BD), h_BD)
        x_BD += y_BD
        return x_BD + self._feed_forward(x_BD), h_BD

    def _feed_forward(self, x_ND: jax.Array) -> jax.Array:
        return self.down(jax.nn.gelu(self.up(self.norm2(x_ND))))


class LinearRNN(nnx.Module):
    """Token ids (B, T) or sequences (B, T, I) to logits at each step or at the end.

    Rows are ordered by time, then by example: a step of time is one piece of memory.
    """

    unbounded = True

    def __init__(
        self,
        spec: families.LinearRNN,
        task: TaskShape,
        *,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        D, I, weights = spec.width, task.inputs, Weights.of(spec)  # noqa: E741
        linear = functools.partial(Linear, weights=weights, dtype=dtype, rngs=rngs)
        if task.kind == "tokens":
            std = weights.table_std(D)
            self.embed = nnx.Param(std * jax.random.normal(rngs.params(), (I, D)))
        else:
            self.enter = linear(I, D)
        blocks = [Block(spec, task, dtype=dtype, rngs=rngs) for _ in range(spec.depth)]
        self.blocks = Blocks(blocks)
        self.norm = RMSNorm(D, dtype=dtype)
        self.head = linear(D, task.outputs)
        self.tokens, self.every_step = (
            task.kind == "tokens",
            task.target == "next_token",
        )
        self.dropout, self.dtype = spec.dropout, dtype

    def __call__(self, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        drop, (B, T) = Dropout(self.dropout, key), x.shape[:2]
        x_N = jnp.swapaxes(x, 0, 1).reshape(T * B, *x.shape[2:])
        x_ND = self.embed[...][x_N] if self.tokens else self.enter(x_N)
        x_ND = drop(x_ND.astype(self.dtype))
        x_ND = self.blocks.run(x_ND, T, drop)
        if not self.every_step:
            return self.head(self.norm(x_ND.reshape(T, B, -1)[-1]))
        logits_NV = self.head(self.norm(x_ND))
        return jnp.swapaxes(logits_NV.reshape(T, B, -1), 0, 1)

    def empty(self, B: int) -> list[jax.Array]:
        """The blocks' states (B, D) before the first token."""
        zeros_BD = jnp.zeros((B, self.norm.gain.shape[0]), jnp.float32)
        return [zeros_BD for _ in self.blocks]

    def step(
        self, tokens_B: jax.Array, position: jax.Array, cache: list[jax.Array]
    ) -> tuple[jax.Array, list[jax.Array]]:
        """Logits (B, V) after one more token, wherever it stands."""
        x_BD, states = self.embed[...][tokens_B].astype(self.dtype), []
        for block, before in zip(self.blocks, cache, strict=True):
            x_BD, after = block.step(x_BD, before)
            states.append(after)
        return self.head(self.norm(x_BD)), states
