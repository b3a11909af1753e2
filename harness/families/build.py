"""A family member as pure functions of arrays; flax is known to this folder alone.

Shape letters used in names throughout:

    B batch · T sequence · N = B·T rows · D width · F hidden · H heads · K head size
    G key/value heads, gates of a cell · V vocabulary or classes · L layers
    I, O inputs and outputs · X, Y height and width of an image · C channels
    S steps in a chunk · E evaluation examples; in a mixture, experts

The rest of the harness sees a model only as the three functions of `Model`, where
`params` is a nested dict of arrays.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from harness.families.arrays import PyTree
from harness.families.layers.core import Blocks, Monitor, Penalty
from harness.specs.registry import implementation
from harness.specs.run import ModelSpec
from harness.specs.task import TaskShape


class Outputs(NamedTuple):
    """The results of a forward pass."""

    values: jax.Array
    """Logits or real outputs."""
    penalty: jax.Array | None
    """Auxiliary loss, added to the training loss; None without one."""
    monitors: dict[str, jax.Array]
    """Measurements of the pass itself, one number an example (B,), by metric name."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Stepping:
    """A language model's forward pass, one token after another.

    What earlier tokens leave behind is the cache: a tree of arrays.
    """

    empty: Callable[[PyTree, int], PyTree]
    """The cache of as many sequences before their first token, of the parameters."""
    step: Callable[[PyTree, jax.Array, jax.Array, PyTree], tuple[jax.Array, PyTree]]
    """Logits (B, V) and cache after one more token, of the parameters, tokens (B,),
    their position and the cache."""
    unbounded: bool
    """Whether there may be more tokens than the model is trained on at once."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A family member as pure functions.

    Without a key a model is evaluated; with one, its dropout is drawn from it.
    """

    init: Callable[[jax.Array], PyTree]
    forward: Callable[[PyTree, jax.Array, jax.Array | None], Outputs]
    stepping: Stepping | None = None
    """None for what predicts no next token, or has no such path."""

    def apply(
        self, params: PyTree, inputs: jax.Array, key: jax.Array | None = None
    ) -> jax.Array:
        """The values of `forward` alone."""
        return self.forward(params, inputs, key).values


def build(
    spec: ModelSpec,
    task: TaskShape,
    dtype: jnp.dtype = jnp.float32,
    *,
    remat: bool = False,
) -> Model:
    """The model of `spec`; parameters are float32, arithmetic is done in `dtype`.

    With `remat` a backward pass computes what is inside of the model's `Blocks` again
    rather than keep it: one more forward pass, for less memory.

    A family's Flax class is made as `Class(spec, task, dtype=…, rngs=…)` and called on
    the inputs, and on `key` too where `spec.stochastic`. What it leaves in variables of
    type `Penalty` and `Monitor` becomes part of the outputs. A language model may have
    the methods of `Stepping`, `empty(B)` and `step(tokens_B, position, cache)`, and say
    `unbounded = True`.
    """
    module_class: Callable[..., nnx.Module] = implementation(type(spec))

    def make(key: jax.Array) -> nnx.Module:
        module = module_class(spec, task, dtype=dtype, rngs=nnx.Rngs(key))
        for _, node in nnx.iter_graph(module):
            if isinstance(node, Blocks):
                node.remat = remat
        return module

    graph, abstract = nnx.split(nnx.eval_shape(make, abstract_key()), nnx.Param)

    def init(key: jax.Array) -> PyTree:
        return nnx.to_pure_dict(nnx.state(make(key), nnx.Param))

    def with_params(params: PyTree) -> Any:
        state = jax.tree.map(lambda leaf: leaf, abstract)
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(graph, state)

    def forward(
        params: PyTree, inputs: jax.Array, key: jax.Array | None = None
    ) -> Outputs:
        module = with_params(params)
        draws = {"key": key} if spec.stochastic and key is not None else {}
        values = module(inputs, **draws)
        return Outputs(values, _penalty(module), _monitors(module))

    stepping = Stepping(
        empty=lambda params, batch: with_params(params).empty(batch),
        step=lambda params, *rest: with_params(params).step(*rest),
        unbounded=getattr(module_class, "unbounded", False),
    )
    steps = task.target == "next_token" and hasattr(module_class, "step")
    return Model(init=init, forward=forward, stepping=stepping if steps else None)


def abstract_key() -> jax.ShapeDtypeStruct:
    """The type of a random key; unlike a key it needs no device."""
    key: jax.ShapeDtypeStruct = jax.eval_shape(jax.random.key, 0)
    return key


def _penalty(module: nnx.Module) -> jax.Array | None:
    """The mean penalty over the layers that have one."""
    penalties = jax.tree.leaves(nnx.state(module, Penalty))
    return jnp.mean(jnp.stack(penalties)) if penalties else None


def _monitors(module: nnx.Module) -> dict[str, jax.Array]:
    """The means over layers of what they measured, by the variable's name."""
    named: dict[str, list[jax.Array]] = {}
    for path, leaf in nnx.to_flat_state(nnx.state(module, Monitor)):
        named.setdefault(str(path[-1]), []).append(leaf[...])
    return {name: jnp.mean(jnp.stack(x), axis=0) for name, x in named.items()}
