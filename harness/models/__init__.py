"""Flax NNX modules, in functional form: the only folder that imports flax.

Shape letters used in names throughout:

    B batch · T sequence · N = B·T rows · D width · F hidden · H heads · K head size
    G key/value heads · V vocabulary or classes · L layers · I, O inputs and outputs
    S steps in a chunk · E evaluation examples

The rest of the harness sees a model only as `init(key) -> params` and
`apply(params, inputs) -> outputs`, where `params` is a nested dict of arrays.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from harness.errors import SpecError
from harness.spec import ModelSpec, TaskShape

PyTree = Any


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A family member as two pure functions."""

    init: Callable[[jax.Array], PyTree]
    apply: Callable[[PyTree, jax.Array], jax.Array]


def build(spec: ModelSpec, task: TaskShape, dtype: jnp.dtype = jnp.float32) -> Model:
    """The model of `spec`; parameters are float32, arithmetic is done in `dtype`.

    A family's Flax class is called as `Class(spec, task, dtype=…, rngs=…)`.
    """
    module_class = _implementation(spec)

    def make(key: jax.Array) -> nnx.Module:
        return module_class(spec, task, dtype=dtype, rngs=nnx.Rngs(key))

    graph, abstract = nnx.split(nnx.eval_shape(make, jax.random.key(0)), nnx.Param)

    def init(key: jax.Array) -> PyTree:
        return nnx.to_pure_dict(nnx.state(make(key), nnx.Param))

    def apply(params: PyTree, inputs: jax.Array) -> jax.Array:
        state = jax.tree.map(lambda leaf: leaf, abstract)
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(graph, state)(inputs)

    return Model(init=init, apply=apply)


def _implementation(spec: ModelSpec) -> Callable[..., nnx.Module]:
    module, _, name = spec.implementation.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SpecError(
            f"family {spec.family} names {spec.implementation!r}, which cannot be "
            f"imported: {error}"
        ) from error
