"""Training from Python: one run in this process, without a results folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from harness.data.dataset import load
from harness.families.arrays import PyTree
from harness.specs.run import RunSpec
from harness.sweeps.options import TrainOptions
from harness.sweeps.plan import PlannedRun, plan
from harness.sweeps.sweep import Point
from harness.training import device
from harness.training.history import History
from harness.training.loop import train_trunks
from harness.training.parts import check_parts
from harness.training.program import compile_cohort
from harness.training.snapshot import Progress, Snapshot
from harness.training.step import State
from harness.workers.record import run_record


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TrainedRun:
    """A run that was trained in this process."""

    run: RunSpec
    """The spec, with what was read of its data."""
    row: Mapping[str, object]
    """Its row of a runs table: counts, final losses, speed, versions."""
    history: History
    """The training loss of each step, and the evaluations."""
    params: PyTree
    """The final weights, those that were evaluated: a nested dict of arrays."""


def train(
    run: RunSpec,
    options: TrainOptions | None = None,
    *,
    params: PyTree | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> TrainedRun:
    """The run, trained from its start to its end; its numbers are those of a sweep.

    Args:
        run: the spec, with a budget.
        options: how the run is laid out on devices.
        params: the weights to begin with, for a run that starts from another's.
        progress: is called after each chunk of steps; may raise to stop.

    Raises:
        SpecError: the spec has no budget, or cannot be trained.
        DataError: the data are missing or malformed.
    """
    run.check_budget()
    alone = plan([Point(run=run)])
    alone.check_files()
    check_parts([run])
    device.enable_compile_cache()
    (planned,) = alone.runs
    dataset = load(planned.run.data, planned.run.seed_data)
    program = compile_cohort([planned.run], dataset, options or TrainOptions())
    last = _LastSnapshot(progress)
    initial = None if params is None else (lambda _: params)
    (finished,) = train_trunks(alone.cohorts[0].trunks, program, last, initial)
    (result,) = finished.results
    record = run_record(result, attempts=1, metrics={}, compile_s=program.compile_s)
    return TrainedRun(
        run=planned.run,
        row=record["row"],
        history=result.history,
        params=program.weights(last.snapshot.state, [planned.run]),
    )


class _LastSnapshot:
    """A checkpointer that keeps nothing but the snapshot at the end."""

    snapshot: Snapshot

    def __init__(self, progress: Callable[[Progress], None]) -> None:
        self.reached = progress

    def newest(self, segment: str, until: int, like: State) -> None:
        """None: training starts at step 0."""

    def due(self) -> bool:
        """False at every chunk's end."""
        return False

    def keep(
        self, progress: Progress, snapshot: Snapshot, trunk: Snapshot | None
    ) -> None:
        """Is never called, as nothing is due."""

    def keep_trunk(self, runs: Sequence[PlannedRun], snapshot: Snapshot) -> None:
        """Is never called: a run of its own keeps nothing."""

    def complete(self, progress: Progress, snapshot: Snapshot) -> None:
        """Takes the snapshot at the run's end."""
        self.snapshot = snapshot
