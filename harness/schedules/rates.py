"""Learning rates of steps, computed on the host.

They enter a compiled step as an array, so no schedule is a reason to compile again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from harness.schedules.spec import WSD, Constant, Cosine, InverseSqrt, Linear
from harness.specs.registry import implementation
from harness.specs.run import RunSpec
from harness.specs.schedule import Schedule

Floats = NDArray[np.float64]


def learning_rates(run: RunSpec, first: int, last: int) -> NDArray[np.float32]:
    """Learning rates of steps [first, last) of a run.

    Step s uses min(1, (s + 1) / warmup) · share(s) · lr; the share of the trunk does
    not depend on the run's length, so runs agree there to the last bit.
    """
    schedule = run.schedule
    step = np.arange(first, last, dtype=np.float64)
    warm = np.minimum(1.0, (step + 1) / max(1, schedule.warmup))
    share: Callable[[Floats, int, Schedule], Floats]
    share = implementation(type(schedule))
    shares = share(step, run.steps, schedule)
    return (run.optimizer.lr * warm * shares).astype(np.float32)


def progress(step: Floats, steps: int, schedule: Schedule) -> Floats:
    """Progress through the decay: 0 up to its first step, 1 on the step after the last,
    so that the last update still moves."""
    start = schedule.decay_start(steps)
    return np.clip((step - start) / max(1, steps - start), 0.0, 1.0)


def constant(step: Floats, steps: int, schedule: Constant) -> Floats:
    """1 everywhere."""
    return np.ones_like(step)


def square_root(step: Floats, steps: int, schedule: WSD) -> Floats:
    """1 − (1 − final) · √x of the progress x."""
    return 1 - (1 - schedule.final) * np.sqrt(progress(step, steps, schedule))


def half_cosine(step: Floats, steps: int, schedule: Cosine) -> Floats:
    """final + (1 − final) · (1 + cos πx) / 2 of the progress x."""
    x, final = progress(step, steps, schedule), schedule.final
    return final + (1 - final) * (1 + np.cos(np.pi * x)) / 2


def line(step: Floats, steps: int, schedule: Linear) -> Floats:
    """1 − (1 − final) · x of the progress x."""
    return 1 - (1 - schedule.final) * progress(step, steps, schedule)


def inverse_square_root(step: Floats, steps: int, schedule: InverseSqrt) -> Floats:
    """√(timescale / step), at most 1; then down to 0 on a straight line."""
    shrinking = np.sqrt(schedule.timescale / np.maximum(step + 1, schedule.timescale))
    if not schedule.cooldown:
        return shrinking
    return shrinking * (1 - progress(step, steps, schedule))
