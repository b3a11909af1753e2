"""Mixture of experts with top-k routing in Flax NNX."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from harness import families
from harness.families.layers.core import Linear, Monitor, Penalty, Weights
from harness.families.layers.plain import are_plain
from harness.specs.task import TaskShape


class Routes(NamedTuple):
    """The routes of the tokens of each sequence; k choices a token, E experts."""

    expert_BTk: jax.Array
    slot_BTk: jax.Array
    """Place in the expert's queue: tokens in order, a token's best choice first."""
    weight_BTk: jax.Array
    kept_BTk: jax.Array
    """Whether the expert has room for it."""


def one_hot(index: jax.Array, size: int, dtype: jnp.dtype) -> jax.Array:
    """One at `index` of a new last axis, else zero.

    The same as jax's by that name, which exporters turn into an operation that not
    every runtime has for these types.
    """
    return (index[..., None] == jnp.arange(size)).astype(dtype)


def route(probabilities_BTE: jax.Array, k: int, slots: int) -> Routes:
    """Each token to its `k` likeliest experts, each of which has `slots` places.

    With k > 1 the weights of a token's choices add up to one before any is dropped;
    the single choice of k = 1 keeps its probability, through which the router learns.
    """
    E = probabilities_BTE.shape[-1]
    weight_BTk, expert_BTk = jax.lax.top_k(probabilities_BTE, k)
    if k > 1:
        weight_BTk /= weight_BTk.sum(axis=-1, keepdims=True)
    chosen_BTkE = one_hot(expert_BTk, E, dtype=jnp.int32)
    # A token's choices are all different, so whole tokens can be counted.
    before_BTE = jnp.cumsum(chosen_BTkE.sum(axis=2), axis=1) - chosen_BTkE.sum(axis=2)
    slot_BTk = jnp.take_along_axis(before_BTE, expert_BTk, axis=-1)
    return Routes(expert_BTk, slot_BTk, weight_BTk, slot_BTk < slots)


class Experts(nnx.Module):
    """E feed-forwards, of which each token passes through `top_k`.

    Leaves behind the load-balancing penalty E·Σ f_e·P_e (f_e: share of the choices that
    fall on expert e, P_e: mean router probability; 1 when balanced) and the monitor
    `dropped`, the share of each sequence's choices that found no room.
    """

    def __init__(
        self,
        spec: families.Transformer,
        task: TaskShape,
        *,
        residual: float,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        D, F, E = spec.width, spec.hidden, spec.experts
        self.gated = spec.mlp == "swiglu"
        linear = functools.partial(
            Linear, weights=Weights.of(spec), dtype=dtype, rngs=rngs
        )
        self.router = linear(D, E, role="output")
        expert = functools.partial(linear, role="hidden", copies=(E,))
        self.up = expert(D, F * (2 if self.gated else 1))
        self.down = expert(F, D, residual=residual)
        self.top_k, self.slots, self.balance = (
            spec.top_k,
            spec.slots(task),
            spec.balance,
        )

    def __call__(self, x_ND: jax.Array, T: int) -> jax.Array:
        x_BTD = x_ND.reshape(-1, T, x_ND.shape[-1])
        logits = self.router(x_ND).astype(jnp.float32)
        probabilities_BTE = jax.nn.softmax(logits).reshape(*x_BTD.shape[:2], -1)
        routes = route(probabilities_BTE, self.top_k, self.slots)
        self._leave_behind(routes, probabilities_BTE)
        if are_plain():
            y_BTD = self._as_products(x_BTD, routes)
        else:
            y_BTD = jax.vmap(self._sequence, in_axes=(0, 0))(x_BTD, routes)
        return y_BTD.reshape(x_ND.shape)

    def _sequence(self, x_TD: jax.Array, routes: Routes) -> jax.Array:
        """The mixture on one sequence: collect, compute, bring back, weigh."""
        T, D = x_TD.shape
        E, S = self.up.kernel.shape[0], self.slots
        # Row E·S is where dropped choices go: written and read, never kept.
        place_Tk = jnp.where(
            routes.kept_BTk, routes.expert_BTk * S + routes.slot_BTk, E * S
        )
        source = jnp.repeat(jnp.arange(T), self.top_k)
        token_P = jnp.full(E * S + 1, T).at[place_Tk.reshape(-1)].set(source)[:-1]
        padded = jnp.concatenate([x_TD, jnp.zeros((1, D), x_TD.dtype)])
        x_ESD = padded[token_P].reshape(E, S, D)
        y_ESD = self._feed_forward(x_ESD, self.up.matrix(), self.down.matrix())
        rows = jnp.concatenate([y_ESD.reshape(-1, D), jnp.zeros((1, D), y_ESD.dtype)])
        weight_Tk = jnp.where(routes.kept_BTk, routes.weight_BTk, 0.0)
        picked_TkD = rows[place_Tk] * weight_Tk[..., None].astype(rows.dtype)
        return picked_TkD.sum(axis=1)

    def _as_products(self, x_BTD: jax.Array, routes: Routes) -> jax.Array:
        """The mixture on all sequences, moved by products with zeros and ones."""
        E, S = self.up.kernel.shape[0], self.slots
        # One number for a place, so that what is dropped has none.
        place_BTk = routes.expert_BTk * S + routes.slot_BTk
        at_BTkP = one_hot(place_BTk, E * S, dtype=x_BTD.dtype)
        at_BTkP *= routes.kept_BTk[..., None].astype(x_BTD.dtype)
        x_END = jnp.einsum("btkp,btd->pbd", at_BTkP, x_BTD)
        x_END = x_END.reshape(E, -1, x_BTD.shape[-1])
        y_END = self._feed_forward(x_END, self.up.matrix(), self.down.matrix())
        y_PBD = y_END.reshape(E * S, -1, x_BTD.shape[-1])
        weight_BTk = routes.weight_BTk.astype(y_PBD.dtype)
        at_BTP = (at_BTkP * weight_BTk[..., None]).sum(axis=2)
        return jnp.einsum("btp,pbd->btd", at_BTP, y_PBD)

    def empty(self, B: int) -> jax.Array:
        """The choices so far that fell on each expert (B, E): none."""
        return jnp.zeros((B, self.up.kernel.shape[0]), jnp.int32)

    def step(
        self, x_BD: jax.Array, choices_BE: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """The mixture on one more token of each sequence, and the choices with its."""
        E, k = choices_BE.shape[1], self.top_k
        logits_BE = self.router(x_BD).astype(jnp.float32)
        routes = route(jax.nn.softmax(logits_BE)[:, None], k, self.slots)
        expert_Bk, weight_Bk = routes.expert_BTk[:, 0], routes.weight_BTk[:, 0]
        slot_Bk = jnp.take_along_axis(choices_BE, expert_Bk, axis=1)
        weight_Bk = jnp.where(slot_Bk < self.slots, weight_Bk, 0.0)
        chosen = expert_Bk.reshape(-1)
        x_C1D = jnp.repeat(x_BD, k, axis=0)[:, None]
        up, down = self.up.matrix()[chosen], self.down.matrix()[chosen]
        y_BkD = self._feed_forward(x_C1D, up, down).reshape(-1, k, x_BD.shape[1])
        y_BD = (y_BkD * weight_Bk[..., None].astype(y_BkD.dtype)).sum(axis=1)
        counted = one_hot(expert_Bk, E, dtype=jnp.int32).sum(axis=1)
        return y_BD, choices_BE + counted

    def _feed_forward(
        self, x_ESD: jax.Array, up_EDF: jax.Array, down_EFD: jax.Array
    ) -> jax.Array:
        """Each expert's feed-forward of its own rows."""
        h_ESF = jnp.einsum("esd,edf->esf", x_ESD, up_EDF)
        if self.gated:
            gate_ESF, h_ESF = jnp.split(h_ESF, 2, axis=-1)
            h_ESF = jax.nn.silu(gate_ESF) * h_ESF
        else:
            h_ESF = jax.nn.gelu(h_ESF)
        return jnp.einsum("esf,efd->esd", h_ESF, down_EFD)

    def _leave_behind(self, routes: Routes, probabilities_BTE: jax.Array) -> None:
        E = probabilities_BTE.shape[-1]
        share_E = one_hot(routes.expert_BTk, E, dtype=jnp.float32).mean(axis=(0, 1, 2))
        mean_E = probabilities_BTE.mean(axis=(0, 1))
        self.penalty = Penalty(self.balance * E * jnp.sum(share_E * mean_E))
        self.dropped = Monitor(1 - routes.kept_BTk.mean(axis=(1, 2)))
