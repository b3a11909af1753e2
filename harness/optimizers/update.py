"""The optimisers as optax transformations, and the penalties on weights.

Continuous hyperparameters enter a compiled step as traced values, so no value of any of
them is ever a reason to compile again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib

from harness.families.arrays import PyTree
from harness.specs.optimizer import Optimizer
from harness.specs.part import Part
from harness.specs.registry import implementation, imported
from harness.specs.run import RunSpec

Scalar = jax.Array | np.float32
OUTSIDE = ("embed", "positions", "stem", "head")
"""First names in the paths of arrays that are no hidden matrices."""


class Hyper(NamedTuple):
    """The traced values of a run: float32 scalars, those of a part by field."""

    optimizer: Mapping[str, Scalar]
    loss: Mapping[str, Scalar]
    l1: Scalar
    l2: Scalar


def hyper(run: RunSpec) -> Hyper:
    """The traced values of a run."""
    return Hyper(
        optimizer=_float32(run.optimizer.traced()),
        loss=_float32(run.loss.traced()),
        l1=np.float32(run.l1),
        l2=np.float32(run.l2),
    )


def _float32(values: Mapping[str, float]) -> dict[str, Scalar]:
    return {name: np.float32(value) for name, value in values.items()}


def attributes(
    part: Part, traced: Mapping[str, Scalar | float], **more: object
) -> SimpleNamespace:
    """The hyperparameters as an implementation sees them: an attribute for each."""
    return SimpleNamespace(**{**part.fixed(), **traced, **more})


def transform(
    optimizer: Optimizer, values: Mapping[str, Scalar], lr: Scalar
) -> optax.GradientTransformation:
    """The transformation of gradients into updates at learning rate `lr`.

    Of `optimizer` only what is in its `program_key()` matters.
    """
    make: Callable[[Any], optax.GradientTransformation]
    make = implementation(type(optimizer))
    h = attributes(optimizer, values, lr=lr, peak_lr=values["lr"])
    return optax.chain(_clip(values["clip"]), make(h))


def judged(
    optimizer: Optimizer, values: Mapping[str, Scalar], state: PyTree, params: PyTree
) -> PyTree:
    """The weights to be judged where the optimiser says which; `params` else.

    `state` is that of `transform`.
    """
    if not optimizer.evaluation:
        return params
    average = imported(type(optimizer), optimizer.evaluation)
    return average(attributes(optimizer, values), state[1], params)


def adamw(h: Any) -> optax.GradientTransformation:
    """m̂ / (√v̂ + eps) of the bias-corrected moments."""
    direction = optax.scale_by_adam(b1=h.beta1, b2=h.beta2, eps=h.eps)
    return optax.chain(direction, decay(h), optax.scale_by_learning_rate(h.lr))


def sgd(h: Any) -> optax.GradientTransformation:
    """The running sum of gradients, which shrinks by `momentum` at each step."""
    direction = optax.trace(decay=h.momentum, nesterov=h.nesterov)
    return optax.chain(direction, decay(h), optax.scale_by_learning_rate(h.lr))


def lion(h: Any) -> optax.GradientTransformation:
    """The sign of the momentum, with more of the newest gradient."""
    return optax.lion(
        h.lr, b1=h.beta1, b2=h.beta2, weight_decay=h.weight_decay, mask=matrices
    )


def ademamix(h: Any) -> optax.GradientTransformation:
    """(m̂₁ + alpha · m₂) / (√v̂ + eps)."""
    return optax.contrib.ademamix(
        h.lr,
        b1=h.beta1,
        b2=h.beta2,
        b3=h.beta3,
        alpha=h.alpha,
        eps=h.eps,
        weight_decay=h.weight_decay,
        mask=matrices,
    )


def adafactor(h: Any) -> optax.GradientTransformation:
    """Factored second moments, relative rates and cut updates."""
    return optax.adafactor(
        h.lr,
        min_dim_size_to_factor=h.factored_from,
        decay_rate=h.decay_rate,
        multiply_by_parameter_scale=h.parameter_scale,
        clipping_threshold=h.threshold,
        # There it comes after the learning rate, which the others multiply it by.
        weight_decay_rate=h.lr * h.weight_decay,
        weight_decay_mask=matrices,
        eps=h.eps,
    )


def schedule_free_adamw(h: Any) -> optax.GradientTransformation:
    """Steps of Adam without momentum, averaged with weights lr²."""
    direction = optax.scale_by_rms(
        decay=h.beta2, eps=h.eps, eps_in_sqrt=False, bias_correction=True
    )
    steps = optax.chain(direction, decay(h), optax.scale_by_learning_rate(h.lr))
    return optax.contrib.schedule_free(steps, learning_rate=h.lr, b1=h.beta1)


def schedule_free_average(h: Any, state: PyTree, params: PyTree) -> PyTree:
    """The average, of which the weights that gradients are taken at have a share."""
    return optax.contrib.schedule_free_eval_params(state, params)


def muon(h: Any) -> optax.GradientTransformation:
    """Newton-Schulz of the momentum for hidden matrices, AdamW for the rest."""
    orthogonal = optax.chain(
        optax.contrib.scale_by_muon(
            ns_steps=h.newton_schulz,
            beta=h.momentum,
            eps=h.eps,
            nesterov=h.nesterov,
            weight_dimension_numbers=_dimensions,
        ),
        _scale_by_shape(h.scaling),
        decay(h),
        optax.scale_by_learning_rate(h.lr),
    )
    adam = optax.chain(
        optax.scale_by_adam(b1=h.beta1, b2=h.beta2, eps=h.eps),
        decay(h),
        optax.scale_by_learning_rate(h.lr * h.adam_share),
    )
    return optax.partition({True: orthogonal, False: adam}, hidden_matrices)


def _dimensions(params: PyTree) -> PyTree:
    axes = optax.contrib.MuonDimensionNumbers(reduction_axis=-2, output_axis=-1)
    return jax.tree.map(lambda _: axes, params)


def _scale_by_shape(scaling: str) -> optax.GradientTransformation:
    def scaled(update: jax.Array) -> jax.Array:
        inputs, outputs = update.shape[-2:]
        if scaling == "rms":
            return update * (0.2 * math.sqrt(max(inputs, outputs)))
        return update * math.sqrt(max(1.0, outputs / inputs))

    return optax.stateless(lambda updates, _: jax.tree.map(scaled, updates))


def hidden_matrices(params: PyTree) -> PyTree:
    """Which arrays are hidden matrices, or stacks of them."""

    def hidden(path: tuple[Any, ...], leaf: jax.Array) -> bool:
        return leaf.ndim >= 2 and path[0].key not in OUTSIDE

    return jax.tree.map_with_path(hidden, params)


def decay(h: Any) -> optax.GradientTransformation:
    """`weight_decay` times each matrix, to be scaled by the learning rate after."""
    return optax.add_decayed_weights(h.weight_decay, mask=matrices)


def matrices(params: PyTree) -> PyTree:
    """Which arrays are matrices: those that weight decay and penalties act on."""
    return jax.tree.map(lambda p: p.ndim >= 2, params)


def weight_penalty(run: RunSpec, h: Hyper, params: PyTree) -> Scalar | float:
    """l1 · Σ|w| + l2 · Σw² over all matrices; of `run` only which of them act."""
    matrix_leaves = [p for p in jax.tree.leaves(params) if p.ndim >= 2]
    total: Scalar | float = 0.0
    if run.l1:
        total += h.l1 * sum(jnp.abs(p).sum() for p in matrix_leaves)
    if run.l2:
        total += h.l2 * sum(jnp.square(p).sum() for p in matrix_leaves)
    return total


def _clip(limit: Scalar) -> optax.GradientTransformation:
    """Clipping by global norm with a traced limit; 0 clips nothing."""

    def update(
        updates: PyTree, state: optax.EmptyState, params: PyTree = None
    ) -> tuple[PyTree, optax.EmptyState]:
        norm = optax.tree.norm(updates)
        scale = jnp.where((limit > 0) & (norm > limit), limit / norm, 1.0)
        return jax.tree.map(lambda u: u * scale, updates), state

    return optax.GradientTransformation(lambda _: optax.EmptyState(), update)
