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
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from harness.families.arrays import PyTree
from harness.families.build import Model, Outputs
from harness.optimizers.update import (
    Hyper,
    Scalar,
    attributes,
    judged,
    transform,
    weight_penalty,
)
from harness.specs.registry import implementation, imported
from harness.specs.run import RunSpec
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
    """Predictions; None for next tokens, which have too many."""
    monitors: dict[str, jax.Array]
    """Measurements of the forward pass, and metrics (E,), by name."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Functions:
    """The functions of a cohort, not yet compiled."""

    init: Callable[[jax.Array, Hyper], State]
    restart: Callable[[PyTree, Hyper], State]
    """The initial state with given weights."""
    train_chunk: Callable[..., Trained]
    judged: Callable[[State, Hyper], PyTree]
    """The weights to be judged."""
    evaluate: Callable[[PyTree, PyTree, PyTree, jax.Array], HeldOut]


def functions(
    model: Model,
    gather: Gather,
    run: RunSpec,
    augment: Augment | None = None,
    sharding: Sharding = ONE_DEVICE,
) -> Functions:
    """The step functions of a model on data of the shape of the run's.

    Of the run's optimiser, loss and penalties only what `sweeps.plan.cohort_key` names
    matters; the values enter as `Hyper`. `augment` acts in training alone.
    """
    task, optimizer = run.data.shape, run.optimizer

    def batch_of(data: PyTree, offsets: jax.Array) -> tuple[jax.Array, jax.Array]:
        inputs, targets = gather(data, sharding.spread(offsets))
        if task.kind == "tokens":
            inputs = inputs.astype(jnp.int32)
        return inputs, targets if task.target == "real" else targets.astype(jnp.int32)

    def init(key: jax.Array, hyper: Hyper) -> State:
        return restart(model.init(key), hyper)

    def restart(params: PyTree, hyper: Hyper) -> State:
        values = hyper.optimizer
        return State(params, transform(optimizer, values, values["lr"]).init(params))

    def train_chunk(
        state: State, hyper: Hyper, data: PyTree, batches: Batches, n_steps: jax.Array
    ) -> Trained:
        """Runs the first `n_steps` of the chunk; returns losses (S,), zero-padded."""
        losses = training_losses(run, hyper)

        def objective(
            params: PyTree, offsets: jax.Array, key: jax.Array
        ) -> tuple[jax.Array, jax.Array]:
            vary, drop = jax.random.split(key)
            inputs, targets = batch_of(data, offsets)
            if augment is not None:
                inputs, targets = augment(vary, inputs, targets)
            out = model.forward(params, inputs, drop)
            loss = losses(out.values, targets).mean()
            return loss + _penalties(run, hyper, params, out), loss

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
            update = transform(optimizer, hyper.optimizer, batches.lr_S[i]).update
            updates, opt = update(grads, opt, params)
            params = optax.apply_updates(params, updates)
            return State(params, opt), loss_S.at[i].set(loss)

        start = state, jnp.zeros(batches.lr_S.shape, jnp.float32)
        trained: Trained
        trained = jax.lax.fori_loop(0, n_steps, one_step, start)
        return trained

    def judged_weights(state: State, hyper: Hyper) -> PyTree:
        return judged(optimizer, hyper.optimizer, state.optimizer, state.params)

    return Functions(
        init=init,
        restart=restart,
        train_chunk=train_chunk,
        judged=judged_weights,
        evaluate=_evaluation(model, batch_of, run),
    )


def training_losses(run: RunSpec, hyper: Hyper) -> Losses:
    """The losses that training minimises."""
    function = implementation(type(run.loss))
    h = attributes(run.loss, hyper.loss, task=run.data.shape)
    return functools.partial(_losses, function, h)


def held_out_losses(run: RunSpec, values: Mapping[str, Scalar]) -> Losses:
    """The losses that runs are compared by."""
    named = run.loss.evaluation or run.loss.implementation
    function = imported(type(run.loss), named)
    h = attributes(run.loss, values, task=run.data.shape)
    return functools.partial(_losses, function, h)


def example_metrics(run: RunSpec) -> dict[str, Losses]:
    """The metrics of the run's own that are means over examples, by name."""
    task = run.data.shape
    return {
        metric.name: functools.partial(
            _losses,
            implementation(type(metric)),
            attributes(metric, metric.traced(), task=task),
        )
        for metric in run.metrics
        if not metric.whole
    }


def _losses(
    function: Callable[[jax.Array, jax.Array, object], jax.Array],
    h: object,
    outputs: jax.Array,
    targets: jax.Array,
) -> jax.Array:
    return function(outputs, targets, h)


def _evaluation(
    model: Model,
    batch_of: Callable[[PyTree, jax.Array], tuple[jax.Array, jax.Array]],
    run: RunSpec,
) -> Callable[..., HeldOut]:
    """The function that returns each example's loss, and what metrics are made of."""
    target, metrics = run.data.shape.target, example_metrics(run)

    def evaluate_batch(
        params: PyTree, losses: Losses, data: PyTree, offsets: jax.Array
    ) -> HeldOut:
        inputs, targets = batch_of(data, offsets)
        out = model.forward(params, inputs, None)
        measured = {name: of(out.values, targets) for name, of in metrics.items()}
        outputs = None if target == "next_token" else out.values.astype(jnp.float32)
        return HeldOut(
            losses(out.values, targets), outputs, {**out.monitors, **measured}
        )

    def evaluate(
        params: PyTree,
        values: Mapping[str, Scalar],
        data: PyTree,
        offsets_E: jax.Array,
    ) -> HeldOut:
        losses = held_out_losses(run, values)
        one_batch = functools.partial(evaluate_batch, params, losses, data)
        evaluated: HeldOut
        evaluated = _in_batches(one_batch, offsets_E, EVAL_BATCH[target])
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
    run: RunSpec, hyper: Hyper, params: PyTree, out: Outputs
) -> Scalar | float:
    auxiliary = 0.0 if out.penalty is None else out.penalty
    return auxiliary + weight_penalty(run, hyper, params)
