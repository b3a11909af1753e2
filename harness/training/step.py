"""The compiled part of training: initialise, train a chunk of steps, evaluate.

Pure functions of arrays. A chunk is one device loop over up to S steps; the number of
steps is traced, so chunks of any length are one program and a run's numbers do not
depend on how it is cut into chunks. What is random in a step (augmentation, dropout) is
drawn from a key of the run's order seed and the step, and so does not depend on it
either.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from harness.families.arrays import PyTree
from harness.families.build import Model, Outputs
from harness.optimizers.update import Hyper, Scalar, transform, weight_penalty
from harness.specs.optim import OptimSpec
from harness.specs.task import TaskShape
from harness.training.sharding import ONE_DEVICE, Sharding

Losses = Callable[[jax.Array, jax.Array], jax.Array]
"""The losses (B,) of outputs and targets."""
Gather = Callable[[PyTree, jax.Array], tuple[jax.Array, jax.Array]]
Augment = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
EVAL_BATCH = {"next_token": 16, "class": 64, "real": 64}
"""Examples evaluated at once; results do not depend on it beyond rounding."""
DRAWS = 0xD7A35
"""Keeps the keys of training steps apart from those of the initial weights."""


class State(NamedTuple):
    """Everything a run carries from step to step."""

    params: PyTree
    optimizer: PyTree


Trained = tuple[State, jax.Array]
"""The state after the steps of a chunk, and their losses (S,)."""


class Batches(NamedTuple):
    """The input of a chunk of S steps, padded to S."""

    offsets_SB: PyTree
    lr_S: PyTree
    first: PyTree
    """Step of the run that the chunk begins with."""
    seed: PyTree
    """Seed of what is random in the steps."""


class ChunkInputs(NamedTuple):
    """The arguments of `train_chunk`, or in their places their axes or shardings."""

    state: PyTree
    hyper: PyTree
    data: PyTree
    batches: Batches
    n_steps: PyTree


class HeldOut(NamedTuple):
    """The evaluation of E held-out examples."""

    loss_E: jax.Array
    outputs_EO: jax.Array | None
    """Predictions; None for next tokens, whose loss is their only metric."""
    monitors: dict[str, jax.Array]
    """Measurements of the forward pass (E,), by name."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Functions:
    """The three functions of a cohort, not yet compiled."""

    init: Callable[[jax.Array], State]
    train_chunk: Callable[..., Trained]
    evaluate: Callable[[PyTree, PyTree, jax.Array], HeldOut]


def functions(
    model: Model,
    gather: Gather,
    task: TaskShape,
    optim: OptimSpec,
    augment: Augment | None = None,
    sharding: Sharding = ONE_DEVICE,
) -> Functions:
    """The step functions of a model on data of the shape of `task`.

    Of `optim` only `program_key()` matters; the values enter as `Hyper`. `augment` acts
    in training alone.
    """
    losses_of: Losses = squared_error if task.target == "real" else cross_entropy

    def batch_of(data: PyTree, offsets: jax.Array) -> tuple[jax.Array, jax.Array]:
        inputs, targets = gather(data, sharding.spread(offsets))
        if task.kind == "tokens":
            inputs = inputs.astype(jnp.int32)
        return inputs, targets if task.target == "real" else targets.astype(jnp.int32)

    def init(key: jax.Array) -> State:
        params = model.init(key)
        zero = Hyper(*(jnp.zeros(()) for _ in Hyper._fields))
        return State(params, transform(optim.optimizer, zero).init(params))

    def train_chunk(
        state: State, hyper: Hyper, data: PyTree, batches: Batches, n_steps: jax.Array
    ) -> Trained:
        """Runs the first `n_steps` of the chunk; returns losses (S,), zero-padded."""
        update = transform(optim.optimizer, hyper).update
        losses: Losses = losses_of
        if optim.label_smoothing:
            smoothing = hyper.label_smoothing
            losses = functools.partial(cross_entropy, smoothing=smoothing)

        def objective(
            params: PyTree, offsets: jax.Array, key: jax.Array
        ) -> tuple[jax.Array, jax.Array]:
            vary, drop = jax.random.split(key)
            inputs, targets = batch_of(data, offsets)
            if augment is not None:
                inputs, targets = augment(vary, inputs, targets)
            out = model.forward(params, inputs, drop)
            loss = losses(out.values, targets).mean()
            return loss + _penalties(optim, hyper, params, out), loss

        def gradients(params: PyTree, offsets: jax.Array, key: jax.Array) -> PyTree:
            whole = sharding.gathered(params)
            grads, loss = jax.grad(objective, has_aux=True)(whole, offsets, key)
            return sharding.scattered(grads), loss

        def one_step(i: jax.Array, carry: Trained) -> Trained:
            (params, opt), loss_S = carry
            grads, loss = _accumulated(
                functools.partial(gradients, params),
                batches.offsets_SB[i],
                _key(batches, i),
                sharding.accumulate,
            )
            direction, opt = update(grads, opt, params)
            lr = batches.lr_S[i]
            params = optax.apply_updates(
                params, jax.tree.map(lambda u: -lr * u, direction)
            )
            return State(params, opt), loss_S.at[i].set(loss)

        start = state, jnp.zeros(batches.lr_S.shape, jnp.float32)
        trained: Trained
        trained = jax.lax.fori_loop(0, n_steps, one_step, start)
        return trained

    evaluate = _evaluation(model, batch_of, losses_of, task)
    return Functions(init=init, train_chunk=train_chunk, evaluate=evaluate)


def _evaluation(
    model: Model,
    batch_of: Callable[[PyTree, jax.Array], tuple[jax.Array, jax.Array]],
    losses_of: Losses,
    task: TaskShape,
) -> Callable[[PyTree, PyTree, jax.Array], HeldOut]:
    """The function that returns each example's loss, and what metrics are made of."""

    def evaluate_batch(params: PyTree, data: PyTree, offsets: jax.Array) -> HeldOut:
        inputs, targets = batch_of(data, offsets)
        out = model.forward(params, inputs, None)
        losses_B = losses_of(out.values, targets)
        if task.target == "next_token":
            return HeldOut(losses_B, None, out.monitors)
        return HeldOut(losses_B, out.values.astype(jnp.float32), out.monitors)

    def evaluate(params: PyTree, data: PyTree, offsets_E: jax.Array) -> HeldOut:
        one_batch = functools.partial(evaluate_batch, params, data)
        evaluated: HeldOut
        evaluated = _in_batches(one_batch, offsets_E, EVAL_BATCH[task.target])
        return evaluated

    return evaluate


def _in_batches(
    function: Callable[[jax.Array], PyTree], offsets_E: jax.Array, size: int
) -> PyTree:
    """The values of `function` of each example, at most `size` at once."""
    E = len(offsets_E)
    size = min(size, E)
    # The last batch is filled up with its own wrap-around, cut off again below.
    rounds = -(-E // size)
    padded = jnp.resize(offsets_E, (rounds, size))
    values = jax.lax.map(function, padded)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:E], values)


def _accumulated(
    gradients: Callable[[jax.Array, jax.Array], PyTree],
    offsets_B: jax.Array,
    key: jax.Array,
    parts: int,
) -> PyTree:
    """The mean of `gradients` over equal parts of a batch, computed one by one."""
    if parts == 1:
        return gradients(offsets_B, key)
    offsets_PB = offsets_B.reshape(parts, -1)

    def add(part: jax.Array, total: PyTree) -> PyTree:
        values = gradients(offsets_PB[part], jax.random.fold_in(key, part))
        return jax.tree.map(jnp.add, total, values)

    shape = jax.eval_shape(gradients, offsets_PB[0], key)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shape)
    total = jax.lax.fori_loop(0, parts, add, zeros)
    return jax.tree.map(lambda x: x / parts, total)


def _key(batches: Batches, i: jax.Array) -> jax.Array:
    key = jax.random.fold_in(jax.random.key(batches.seed), DRAWS)
    return jax.random.fold_in(key, batches.first + i)


def _penalties(
    optim: OptimSpec, hyper: Hyper, params: PyTree, out: Outputs
) -> Scalar | float:
    auxiliary = 0.0 if out.penalty is None else out.penalty
    return auxiliary + weight_penalty(optim, hyper, params)


def cross_entropy(
    logits: jax.Array, targets: jax.Array, smoothing: Scalar | None = None
) -> jax.Array:
    """Nats of each example (B,): mean over its tokens; log-softmax in float32.

    Logits (B, T, V) or (B, V); targets are ids without the last axis, or probabilities
    with it. `smoothing` mixes that share of the uniform distribution into the targets.
    """
    logits = logits.astype(jnp.float32)
    if targets.ndim == logits.ndim:
        picked = jnp.sum(targets * logits, axis=-1)
        nats = jax.nn.logsumexp(logits, axis=-1) - picked
    else:
        nats = _surprisal(logits, targets)
    if smoothing is not None:
        uniform = jax.nn.logsumexp(logits, axis=-1) - logits.mean(axis=-1)
        nats = (1 - smoothing) * nats + smoothing * uniform
    return nats.mean(axis=-1) if nats.ndim == 2 else nats


@jax.custom_vjp
def _surprisal(logits: jax.Array, ids: jax.Array) -> jax.Array:
    """-ln softmax(logits)[id], with a gradient of one pass over the logits."""
    return _surprisal_and_weights(logits, ids)[0]


Saved = tuple[jax.Array, jax.Array, jax.Array]
"""The numbers that the gradient of a surprisal needs: weights, their sums, ids."""


def _surprisal_and_weights(
    logits: jax.Array, ids: jax.Array
) -> tuple[jax.Array, Saved]:
    largest = logits.max(axis=-1)
    weights = jnp.exp(logits - largest[..., None])
    total = weights.sum(axis=-1)
    picked = jnp.take_along_axis(logits, ids[..., None], axis=-1)[..., 0]
    return jnp.log(total) + largest - picked, (weights, total, ids)


def _surprisal_gradients(saved: Saved, g: jax.Array) -> tuple[jax.Array, None]:
    weights, total, ids = saved
    is_target = ids[..., None] == jnp.arange(weights.shape[-1])
    # A masked subtraction, since a scatter is slow on CPU.
    picked = jnp.where(is_target, g[..., None], 0.0)
    return weights * (g / total)[..., None] - picked, None


_surprisal.defvjp(_surprisal_and_weights, _surprisal_gradients)


def squared_error(outputs_BO: jax.Array, targets_BO: jax.Array) -> jax.Array:
    """Mean squared error of each example over its outputs, shape (B,)."""
    return jnp.square(outputs_BO.astype(jnp.float32) - targets_BO).mean(axis=-1)
