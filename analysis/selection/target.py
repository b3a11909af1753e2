"""The quantity that further runs should pin down, and its gradient in the constants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.errors import AnalysisError
from analysis.fitting.search import constants_of_each
from analysis.laws.allocation import allocate
from analysis.laws.base import Law

Kind = Literal["loss", "n_star", "a"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """The quantity that the next runs should pin down.

    Attributes:
        kind: "loss": the best loss at `compute`; "n_star": ln N* there; "a": the
            exponent of N*.
        compute: C in FLOPs.
    """

    kind: Kind
    compute: float

    def __post_init__(self) -> None:
        if self.kind not in ("loss", "n_star", "a"):
            raise AnalysisError(f"target {self.kind!r} is none of loss, n_star, a")
        if not self.compute > 0:
            raise AnalysisError(f"target compute {self.compute} must be above 0")


def target_value(
    law: Law, constants: dict[str, np.ndarray], target: Target, flops_per_nd: float
) -> np.ndarray:
    """The target (draws,) for arrays of constants: loss in nats, ln N*, or an exponent.

    Args:
        law: in n and d.
        constants: name -> (draws,), natural units.
        target: what is to be known, and at which C (FLOPs).
        flops_per_nd: k of C = k N D.
    """
    if target.kind == "a":
        low = allocate(law, constants, target.compute / 2, flops_per_nd=flops_per_nd)
        high = allocate(law, constants, target.compute * 2, flops_per_nd=flops_per_nd)
        return np.asarray(np.log(high.n / low.n) / np.log(4.0))
    best = allocate(law, constants, target.compute, flops_per_nd=flops_per_nd)
    return best.loss if target.kind == "loss" else np.asarray(np.log(best.n))


def target_gradient(
    law: Law, theta: np.ndarray, target: Target, flops_per_nd: float
) -> np.ndarray:
    """The gradient (p,) of the target in solver coordinates, by central differences.

    Args:
        law: in n and d.
        theta: (p,) solver coordinates.
        target: what is to be known, and at which C (FLOPs).
        flops_per_nd: k of C = k N D.

    Raises:
        AnalysisError: the law has no optimum near the target's C.
    """
    step = 1e-4 * np.maximum(np.abs(theta), 0.1)
    shifts = np.concatenate([np.diag(step), -np.diag(step)])
    constants = constants_of_each(law, theta + shifts)
    value = target_value(law, constants, target, flops_per_nd)
    up, down = np.split(value, 2)
    gradient = (up - down) / (2 * step)
    if not np.all(np.isfinite(gradient)):
        raise AnalysisError(
            f"the fitted law has no optimum near C = {target.compute:g} FLOPs"
        )
    return np.asarray(gradient)
