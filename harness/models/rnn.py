"""Recurrent networks in Flax NNX."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from harness import families
from harness.models.layers import Dropout, Linear, Weights
from harness.spec import TaskShape

UNROLL = 8
"""Time steps in one trip of the loop; measured best of 1 to 32 on CPU."""

State = tuple[jax.Array, ...]


def simple(x_BG: jax.Array, u_BG: jax.Array, state: State) -> State:
    """h' = tanh(Wx + b + Uh)."""
    return (jnp.tanh(x_BG + u_BG),)


def gru(x_BG: jax.Array, u_BG: jax.Array, state: State) -> State:
    """Gates reset r, update z; h' = z·h + (1 - z)·tanh(Wx + b + r·Uh)."""
    (h_BH,) = state
    xr, xz, xn = jnp.split(x_BG, 3, axis=-1)
    ur, uz, un = jnp.split(u_BG, 3, axis=-1)
    z = jax.nn.sigmoid(xz + uz)
    return (z * h_BH + (1 - z) * jnp.tanh(xn + jax.nn.sigmoid(xr + ur) * un),)


def lstm(x_BG: jax.Array, u_BG: jax.Array, state: State) -> State:
    """Gates input i, forget f, output o: c' = f·c + i·tanh(g), h' = o·tanh(c')."""
    _, c_BH = state
    i, f, o, g = jnp.split(x_BG + u_BG, 4, axis=-1)
    # The forget bias of one (Gers et al. 2000) is no parameter: it starts there.
    forget = jax.nn.sigmoid(f + 1)
    c_BH = forget * c_BH + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c_BH), c_BH


CELLS = {"simple": (simple, 1), "gru": (gru, 1), "lstm": (lstm, 2)}
"""Cell functions, and how many vectors their state has; the first is the output."""


class Layer(nnx.Module):
    """One recurrent layer: (T, B, I) to (T, B, H), starting from zeros."""

    def __init__(
        self, inputs: int, spec: families.RNN, *, dtype: jnp.dtype, rngs: nnx.Rngs
    ) -> None:
        H, G, weights = spec.width, spec.gates, Weights.of(spec)
        common: dict[str, Any] = {"weights": weights, "dtype": dtype, "rngs": rngs}
        self.enter = Linear(inputs, G * H, bias=True, **common)
        self.recur = Linear(H, G * H, **common)
        self.cell, self.width = spec.cell, H

    def __call__(self, x_TBI: jax.Array) -> jax.Array:
        T, B, _ = x_TBI.shape
        cell, vectors = CELLS[self.cell]
        # Inputs of all steps are one large product; only the state's is in the loop.
        x_TBG = self.enter(x_TBI.reshape(T * B, -1)).reshape(T, B, -1)
        matrix_HG = self.recur.matrix()

        def step(state: State, x_BG: jax.Array) -> tuple[State, jax.Array]:
            state = cell(x_BG, state[0] @ matrix_HG, state)
            return state, state[0]

        zeros = jnp.zeros((B, self.width), x_TBG.dtype)
        _, h_TBH = jax.lax.scan(step, (zeros,) * vectors, x_TBG, unroll=UNROLL)
        return h_TBH


class RNN(nnx.Module):
    """Token ids (B, T) or sequences (B, T, I) to logits at each step or at the end."""

    def __init__(
        self, spec: families.RNN, task: TaskShape, *, dtype: jnp.dtype, rngs: nnx.Rngs
    ) -> None:
        H, weights = spec.width, Weights.of(spec)
        table = (task.inputs, H)
        self.embed = (
            nnx.Param(weights.table_std(H) * jax.random.normal(rngs.params(), table))
            if task.kind == "tokens"
            else None
        )
        self.layers = nnx.List(
            [Layer(i, spec, dtype=dtype, rngs=rngs) for i in spec.layer_inputs(task)]
        )
        self.head = Linear(
            H, task.outputs, bias=True, weights=weights, dtype=dtype, rngs=rngs
        )
        self.every_step = task.target == "next_token"
        self.dropout, self.dtype = spec.dropout, dtype

    def __call__(self, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        drop = Dropout(self.dropout, key)
        x_TB = jnp.swapaxes(x, 0, 1)
        T, B = x_TB.shape[:2]
        if self.embed is not None:
            x_TB = self.embed[...][x_TB.reshape(-1)].reshape(T, B, -1)
            x_TB = drop(x_TB)
        x_TBH = x_TB.astype(self.dtype)
        for layer in self.layers:
            x_TBH = drop(layer(x_TBH))
        if not self.every_step:
            return self.head(x_TBH[-1])
        h_NH = jnp.swapaxes(x_TBH, 0, 1).reshape(B * T, -1)
        return self.head(h_NH).reshape(B, T, -1)
