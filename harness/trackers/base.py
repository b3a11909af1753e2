"""The protocol of trackers, and the trackers by name.

A tracker is told of runs, one by one: that a run begins, rows of its curves, that it
has ended. After a crash it is told of a run again; `starts_over` says from where.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from harness.errors import SpecError
from harness.specs.registry import nearest

TRACKERS = {
    "tensorboard": "harness.trackers.tensorboard:TensorBoard",
    "wandb": "harness.trackers.wandb:WandB",
    "mlflow": "harness.trackers.mlflow:MLflow",
}
"""Module and class of each tracker, by the name that `--to` and `--track` give."""


class Row(NamedTuple):
    """One evaluation of a run."""

    step: int
    tokens: int
    seconds: float
    """Seconds of training up to there."""
    values: Mapping[str, float]
    """Metrics by split and name, such as "eval/loss"."""


class Tracker(Protocol):
    """What curves, specs and final losses of runs are mirrored to."""

    starts_over: bool
    """Whether a run that was cut off is told again from its first row; else from the
    first row that was not accepted, and rows that come twice are taken once."""

    def begin(self, run_id: str, name: str, facts: Mapping[str, object]) -> None:
        """A run: its id, a name for people, its spec, counts and coordinates."""
        ...

    def add(self, run_id: str, rows: Sequence[Row]) -> None:
        """Further rows of the run; accepted for good when this returns."""
        ...

    def end(self, run_id: str, summary: Mapping[str, object]) -> None:
        """The run has finished, with these numbers."""
        ...

    def close(self) -> None:
        """Nothing more comes."""
        ...


def tracker_at(target: str, sweep: str) -> Tracker:
    """The tracker that NAME[:TARGET] names; `sweep` names the project or experiment.

    Raises `SpecError` for an unknown name, and for a package that is missing.
    """
    name, _, place = target.partition(":")
    if name not in TRACKERS:
        question = nearest(name, TRACKERS) or ";"
        raise SpecError(
            f"tracker {name!r} is not known{question} known are {', '.join(TRACKERS)}"
        )
    module, _, kind = TRACKERS[name].partition(":")
    try:
        tracker: Tracker = getattr(importlib.import_module(module), kind)(place, sweep)
    except ImportError as error:
        raise SpecError(
            f"tracker {name} needs a package that is not here ({error.name}): "
            "pip install 'scaling-harness[trackers]'"
        ) from None
    return tracker
