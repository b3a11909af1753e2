"""State and update of an optimiser, measured on the shapes of a model's parameters."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
from jax.interpreters.partial_eval import dce_jaxpr

from harness.errors import SpecError
from harness.families.build import abstract_key, build
from harness.optimizers.update import hyper, transform
from harness.specs.run import RunSpec


class Measured(NamedTuple):
    """The cost of an optimiser on a model."""

    state_bytes: int
    update_flops: int
    """FLOPs of the matrix products of one update."""


def measure(run: RunSpec) -> Measured:
    """The cost of a run's optimiser on its model; nothing is computed.

    Raises `SpecError` if the update has a loop whose length is not fixed: its FLOPs
    are not known before it runs.
    """
    values = hyper(run).optimizer
    optimizer = transform(run.optimizer, values, values["lr"])
    model = build(run.model, run.data.shape)
    params = jax.eval_shape(model.init, abstract_key())
    state = jax.eval_shape(optimizer.init, params)
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    jaxpr = jax.make_jaxpr(optimizer.update)(params, state, params).jaxpr
    needed, _ = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return Measured(size, _matmul_flops(needed, run.optimizer.name))


def _matmul_flops(jaxpr: Any, name: str) -> int:
    """2 · m · n · k over every matrix product; the body of a scan once per trip."""
    total = 0
    for equation in jaxpr.eqns:
        kind, params = equation.primitive.name, equation.params
        inner = sum(_matmul_flops(body, name) for body in _bodies(params))
        if kind == "dot_general":
            total += _product(equation)
        elif inner and kind in ("while", "cond"):
            raise SpecError(
                f"optimizer {name}: how often its matrix products run is not fixed; "
                "give its class a method update_flops"
            )
        total += params.get("length", 1) * inner if kind == "scan" else inner
    return total


def _bodies(params: dict[str, Any]) -> list[Any]:
    leaves = jax.tree.leaves(list(params.values()), is_leaf=_is_jaxpr)
    return [getattr(leaf, "jaxpr", leaf) for leaf in leaves if _is_jaxpr(leaf)]


def _is_jaxpr(value: object) -> bool:
    return hasattr(value, "eqns") or hasattr(getattr(value, "jaxpr", None), "eqns")


def _product(equation: Any) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    k: int = math.prod(left[axis] for axis in contracted)
    return 2 * k * int(math.prod(equation.outvars[0].aval.shape))
