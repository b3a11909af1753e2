"""The compiled part of training: initialise, train a chunk of steps, evaluate.

Pure functions of arrays. A chunk is one device loop over up to S steps; the number of
steps is traced, so chunks of any length are one program and a run's numbers do not
depend on how it is cut into chunks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from harness.models import Model
from harness.optim import Hyper, transform

PyTree = Any
Gather = Callable[[PyTree, jax.Array], tuple[jax.Array, jax.Array]]
EVAL_BATCH = 16
"""Examples evaluated at once; results do not depend on it beyond rounding."""


class State(NamedTuple):
    """Everything a run carries from step to step."""

    params: PyTree
    optimizer: PyTree


class Batches(NamedTuple):
    """What a chunk of S steps consumes, padded to S."""

    offsets_SB: Any
    lr_S: Any


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Functions:
    """The three functions of a cohort, not yet compiled."""

    init: Callable[[jax.Array], State]
    train_chunk: Callable[..., tuple[State, jax.Array]]
    evaluate: Callable[[PyTree, PyTree, jax.Array], jax.Array]


def functions(model: Model, gather: Gather, kind: str, optimizer: str) -> Functions:
    """The step functions of a model on data of `kind` "tokens" or "vectors"."""
    losses_of = {"tokens": cross_entropy, "vectors": squared_error}[kind]

    def losses(params: PyTree, data: PyTree, offsets: jax.Array) -> jax.Array:
        """Mean loss of each example, shape (B,)."""
        inputs, targets = gather(data, offsets)
        if kind == "tokens":
            inputs, targets = inputs.astype(jnp.int32), targets.astype(jnp.int32)
        return losses_of(model.apply(params, inputs), targets)

    def init(key: jax.Array) -> State:
        params = model.init(key)
        zero = Hyper(*(jnp.zeros(()) for _ in Hyper._fields))
        return State(params, transform(optimizer, zero).init(params))

    def train_chunk(
        state: State, hyper: Hyper, data: PyTree, batches: Batches, n_steps: jax.Array
    ) -> tuple[State, jax.Array]:
        """Runs the first `n_steps` of the chunk; returns losses (S,), zero-padded."""
        update = transform(optimizer, hyper).update

        def one_step(i: jax.Array, carry: tuple[State, jax.Array]) -> tuple:
            (params, opt), loss_S = carry
            mean = lambda p: losses(p, data, batches.offsets_SB[i]).mean()  # noqa: E731
            loss, grads = jax.value_and_grad(mean)(params)
            direction, opt = update(grads, opt, params)
            lr = batches.lr_S[i]
            params = optax.apply_updates(
                params, jax.tree.map(lambda u: -lr * u, direction)
            )
            return State(params, opt), loss_S.at[i].set(loss)

        empty = jnp.zeros(batches.lr_S.shape, jnp.float32)
        return jax.lax.fori_loop(0, n_steps, one_step, (state, empty))

    def evaluate(params: PyTree, data: PyTree, offsets_E: jax.Array) -> jax.Array:
        """Mean loss of each held-out example, shape (E,)."""
        E = len(offsets_E)
        size = min(EVAL_BATCH, E)
        # The last batch is filled up with its own wrap-around, cut off again below.
        rounds = -(-E // size)
        padded = jnp.resize(offsets_E, (rounds, size))
        return jax.lax.map(lambda o: losses(params, data, o), padded).reshape(-1)[:E]

    return Functions(init=init, train_chunk=train_chunk, evaluate=evaluate)


def cross_entropy(logits_BTV: jax.Array, targets_BT: jax.Array) -> jax.Array:
    """Nats per token of each sequence, shape (B,); log-softmax in float32."""
    logits = logits_BTV.astype(jnp.float32)
    # A masked sum, since the gradient of indexing is a slow scatter on CPU.
    is_target = targets_BT[..., None] == jnp.arange(logits.shape[-1])
    picked = jnp.sum(jnp.where(is_target, logits, 0.0), axis=-1)
    return (jax.nn.logsumexp(logits, axis=-1) - picked).mean(axis=-1)


def squared_error(outputs_BO: jax.Array, targets_BO: jax.Array) -> jax.Array:
    """Mean squared error of each example over its outputs, shape (B,)."""
    return jnp.square(outputs_BO.astype(jnp.float32) - targets_BO).mean(axis=-1)
