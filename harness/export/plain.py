"""A trained model as a function of its inputs alone, for programs elsewhere."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Generic, TypeVar

import jax
import jax.numpy as jnp
from jax import export

from harness.export.trained import Trained, example
from harness.families.layers.plain import plain_operations

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Exported(Generic[T]):
    """A model in another form, and whether it takes batches of any size."""

    program: T
    batch: int | None
    """The only batch size that it takes; None for any."""


def function_of(trained: Trained) -> Callable[[jax.Array], jax.Array]:
    """The model with its weights inside, in plain operations; float32 outputs."""

    def outputs(inputs: jax.Array) -> jax.Array:
        with plain_operations():
            return trained.model.apply(trained.params, inputs).astype(jnp.float32)

    return outputs


def for_any_batch(
    trained: Trained, convert: Callable[[jax.ShapeDtypeStruct], T]
) -> Exported[T]:
    """What `convert` makes of inputs of any batch size, or else of one example.

    A family of one's own may compute with its batch size as with a number; then the
    size is fixed at 1.
    """
    shape, dtype = example(trained.task)
    (B,) = export.symbolic_shape("B")
    try:
        inputs = jax.ShapeDtypeStruct((B, *shape), dtype)
        return Exported(program=convert(inputs), batch=None)
    # That a size is no number is told in many ways. What else is wrong is told again.
    except Exception:
        inputs = jax.ShapeDtypeStruct((1, *shape), dtype)
        return Exported(program=convert(inputs), batch=1)


def facts(trained: Trained) -> dict[str, str]:
    """What a file says of the model in it: id and spec of its run."""
    run = trained.run
    return {"harness.run_id": run.run_id, "harness.spec": json.dumps(run.to_dict())}
