"""Recurrent networks in Flax NNX."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from harness import families
from harness.families.layers.core import Blocks, Dropout, Linear, Weights
from harness.specs.task import TaskShape

State = tuple[jax.Array, ...]
Pair = tuple[jax.Array, jax.Array]
Saved = tuple[Callable[[jax.Array], Pair], jax.Array]
"""The gradients of the inputs, as a function of those of the states; the states."""


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


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def run(cell: str, x_TBG: jax.Array, matrix_HG: jax.Array) -> jax.Array:
    """States h of all steps (T, B, H), starting from zeros.

    The gradient of the matrix is one product over all steps at once: inside the loop
    it would read and write the whole matrix at every step.
    """
    return _loop(cell, x_TBG, jnp.zeros_like(x_TBG), matrix_HG)


def _loop(
    name: str, x_TBG: jax.Array, extra_TBG: jax.Array, matrix_HG: jax.Array
) -> jax.Array:
    cell, vectors = CELLS[name]

    def step(state: State, now: Pair) -> tuple[State, jax.Array]:
        x_BG, extra_BG = now
        state = cell(x_BG, state[0] @ matrix_HG + extra_BG, state)
        return state, state[0]

    zeros = jnp.zeros((x_TBG.shape[1], len(matrix_HG)), x_TBG.dtype)
    # Unrolling was no faster on CPU and took far longer to compile.
    return jax.lax.scan(step, (zeros,) * vectors, (x_TBG, extra_TBG))[1]


def _forward(
    cell: str, x_TBG: jax.Array, matrix_HG: jax.Array
) -> tuple[jax.Array, Saved]:
    # What is added to the product with the matrix has the gradient of the product.
    h_TBH, pull = jax.vjp(
        lambda x, extra: _loop(cell, x, extra, matrix_HG), x_TBG, jnp.zeros_like(x_TBG)
    )
    return h_TBH, (pull, h_TBH)


def _backward(cell: str, saved: Saved, dh_TBH: jax.Array) -> Pair:
    pull, h_TBH = saved
    dx_TBG, du_TBG = pull(dh_TBH)
    before_TBH = jnp.concatenate([jnp.zeros_like(h_TBH[:1]), h_TBH[:-1]])
    H, G = h_TBH.shape[-1], du_TBG.shape[-1]
    return dx_TBG, before_TBH.reshape(-1, H).T @ du_TBG.reshape(-1, G)


run.defvjp(_forward, _backward)


class Layer(nnx.Module):
    """One recurrent layer: (T, B, I) to (T, B, H), starting from zeros."""

    def __init__(
        self, inputs: int, spec: families.RNN, *, dtype: jnp.dtype, rngs: nnx.Rngs
    ) -> None:
        H, G, weights = spec.width, spec.gates, Weights.of(spec)
        linear = functools.partial(Linear, weights=weights, dtype=dtype, rngs=rngs)
        self.enter = linear(inputs, G * H, bias=True)
        self.recur = linear(H, G * H)
        self.cell = spec.cell

    def __call__(self, x_TBI: jax.Array, drop: Dropout) -> jax.Array:
        T, B, _ = x_TBI.shape
        # Inputs of all steps are one large product; only the state's is in the loop.
        x_TBG = self.enter(x_TBI.reshape(T * B, -1)).reshape(T, B, -1)
        return drop(run(self.cell, x_TBG, self.recur.matrix()))

    def empty(self, B: int) -> State:
        """The state of B sequences before their first step."""
        zeros_BH = jnp.zeros((B, self.recur.kernel.shape[0]), self.recur.dtype)
        return (zeros_BH,) * CELLS[self.cell][1]

    def step(self, x_BI: jax.Array, state: State) -> State:
        """The state after one more step."""
        cell = CELLS[self.cell][0]
        return cell(self.enter(x_BI), state[0] @ self.recur.matrix(), state)


class RNN(nnx.Module):
    """Token ids (B, T) or sequences (B, T, I) to logits at each step or at the end."""

    unbounded = True

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
        self.layers = Blocks(
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
        x_TBH = self.layers.run(x_TBH, drop)
        if not self.every_step:
            return self.head(x_TBH[-1])
        h_NH = jnp.swapaxes(x_TBH, 0, 1).reshape(B * T, -1)
        return self.head(h_NH).reshape(B, T, -1)

    def empty(self, B: int) -> list[State]:
        """The layers' states before the first token."""
        return [layer.empty(B) for layer in self.layers]

    def step(
        self, tokens_B: jax.Array, position: jax.Array, cache: list[State]
    ) -> tuple[jax.Array, list[State]]:
        """Logits (B, V) after one more token, wherever it stands."""
        assert self.embed is not None
        x_BH, states = self.embed[...][tokens_B].astype(self.dtype), []
        for layer, before in zip(self.layers, cache, strict=True):
            states.append(layer.step(x_BH, before))
            x_BH = states[-1][0]
        return self.head(x_BH), states
