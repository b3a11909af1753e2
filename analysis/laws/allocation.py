"""Compute-optimal allocation: the n and d that a law prefers at a compute budget."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analysis.errors import AnalysisError
from analysis.laws.arrays import Array, Constants, FloatArray, Number, Values
from analysis.laws.base import Law

GOLDEN = 0.6180339887498949
"""The golden ratio, less one."""
STEPS = 60
"""The golden-section steps: the bracket shrinks by 3e-13."""


class Allocation(NamedTuple):
    """Optimal parameters, tokens and loss (nats); arrays of one common shape.

    Entries are NaN where the loss has no minimum between n = 1 and d = 1.
    """

    n: FloatArray
    d: FloatArray
    loss: FloatArray


@lru_cache(maxsize=64)
def _compiled(
    law: Law,
) -> Callable[[dict[str, FloatArray], FloatArray], tuple[Array, Array]]:
    return jax.jit(lambda constants, log_c: _golden_section(law, constants, log_c))


def _golden_section(law: Law, constants: Values, log_c: Array) -> tuple[Array, Array]:
    """The best ln n and its loss, elementwise."""

    def loss(log_n: Array) -> Array:
        columns = {"n": jnp.exp(log_n), "d": jnp.exp(log_c - log_n)}
        return law.predict(constants, columns)

    def shrink(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        go_left = loss(left) < loss(right)
        return jnp.where(go_left, low, left), jnp.where(go_left, right, high)

    low, high = jax.lax.fori_loop(0, STEPS, shrink, (jnp.zeros_like(log_c), log_c))
    log_n = 0.5 * (low + high)
    inside = (log_n > 1e-6) & (log_n < log_c - 1e-6)
    return jnp.where(inside, log_n, jnp.nan), jnp.where(inside, loss(log_n), jnp.nan)


def allocate(
    law: Law,
    constants: Constants,
    compute: Number,
    *,
    flops_per_nd: float = 6.0,
) -> Allocation:
    """The minimum of L(n, d) subject to C = k n d, by golden section in ln n.

    Args:
        law: reads n and d and has one minimum along a budget (all laws here do).
        constants: name -> number, or array broadcast against `compute`.
        compute: budgets C in FLOPs.
        flops_per_nd: k, training FLOPs per parameter and token.

    Raises:
        AnalysisError: the law reads other columns than n and d.
    """
    if set(law.columns) != {"n", "d"}:
        raise AnalysisError(
            f"{law.name} reads {', '.join(law.columns)}: an optimal allocation needs a "
            "law in n and d"
        )
    log_c = np.log(np.asarray(compute, np.float64) / flops_per_nd)
    values = {k: np.asarray(v, np.float64) for k, v in constants.items()}
    shape = np.broadcast_shapes(log_c.shape, *(v.shape for v in values.values()))
    with jax.enable_x64(True):
        best = _compiled(law)(values, np.broadcast_to(log_c, shape))
        log_n, loss = (np.asarray(a) for a in best)
    return Allocation(np.exp(log_n), np.exp(log_c - log_n), loss)
