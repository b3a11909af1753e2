"""Learning rates of steps, computed on the host.

They enter a compiled step as an array, so no schedule is a reason to compile again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from harness.specs.optim import OptimSpec, Schedule
from harness.specs.registry import find, implementation

Floats = NDArray[np.float64]


def learning_rates(
    optim: OptimSpec, steps: int, first: int, last: int
) -> NDArray[np.float32]:
    """Learning rates of steps [first, last) of a run of `steps`.

    Step s uses min(1, (s + 1) / warmup) · decay(s) · lr; during the trunk decay is 1,
    so runs of different length agree there to the last bit.
    """
    step = np.arange(first, last, dtype=np.float64)
    warm = np.minimum(1.0, (step + 1) / max(1, optim.warmup))
    start = optim.decay_start(steps)
    # Progress reaches 1 on the step after the last: the last update still moves.
    progress = np.clip((step - start) / max(1, steps - start), 0.0, 1.0)
    decay: Callable[[Floats, OptimSpec], Floats]
    decay = implementation(find(Schedule, optim.schedule))
    return (optim.lr * warm * decay(progress, optim)).astype(np.float32)


def square_root(progress: Floats, optim: OptimSpec) -> Floats:
    """1 − (1 − final) · √x."""
    return 1 - (1 - optim.final) * np.sqrt(progress)


def half_cosine(progress: Floats, optim: OptimSpec) -> Floats:
    """final + (1 − final) · (1 + cos πx) / 2."""
    final = optim.final
    return final + (1 - final) * (1 + np.cos(np.pi * progress)) / 2


def unchanged(progress: Floats, optim: OptimSpec) -> Floats:
    """1 everywhere."""
    return np.ones_like(progress)
