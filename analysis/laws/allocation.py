"""Compute-optimal allocation: the n and d that a law prefers at a compute budget."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from analysis.errors import AnalysisError
from analysis.laws.arrays import Constants, FloatArray, Number
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


def _golden_section(
    law: Law, constants: Constants, log_c: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The best ln n and its loss, elementwise."""

    def loss(log_n: FloatArray) -> FloatArray:
        columns = {"n": np.exp(log_n), "d": np.exp(log_c - log_n)}
        return law.losses(constants, columns)

    low, high = np.zeros_like(log_c), log_c
    for _ in range(STEPS):
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        go_left = loss(left) < loss(right)
        low, high = np.where(go_left, low, left), np.where(go_left, right, high)
    log_n = 0.5 * (low + high)
    inside = (log_n > 1e-6) & (log_n < log_c - 1e-6)
    return np.where(inside, log_n, np.nan), np.where(inside, loss(log_n), np.nan)


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
    log_c = np.broadcast_to(log_c, shape)
    log_n, loss = _golden_section(law, values, log_c)
    return Allocation(np.exp(log_n), np.exp(log_c - log_n), loss)
