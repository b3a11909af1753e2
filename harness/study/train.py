"""Training from Python: one run in this process, without a results folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import pandas as pd

from harness.data.dataset import load
from harness.errors import SpecError, one_line
from harness.families.arrays import PyTree
from harness.specs.run import RunSpec
from harness.store.schema import metrics_table
from harness.study.fork import refuse_fork
from harness.sweeps.options import TrainOptions
from harness.sweeps.plan import PlannedRun, plan
from harness.sweeps.sweep import Point
from harness.training import device
from harness.training.history import Evaluation, History
from harness.training.loop import Result, train_trunks
from harness.training.parts import check_parts
from harness.training.program import compile_cohort
from harness.training.snapshot import Progress, Snapshot
from harness.training.step import State
from harness.workers.record import metric_rows, run_record

T = TypeVar("T")


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
    result: Result
    """The run with its plan, as it would go into a results folder."""

    @property
    def metrics(self) -> pd.DataFrame:
        """Its curves, with the columns of a results folder's metrics."""
        rows = metric_rows(
            self.result.planned, self.history, annealed=self.result.annealed
        )
        return metrics_table(rows).to_pandas()

    @property
    def curve(self) -> pd.Series[float]:
        """The held-out loss by step."""
        rows = self.metrics.query("split == 'eval' and metric == 'loss'")
        return rows.set_index("step")["value"]


def train(
    run: RunSpec,
    options: TrainOptions | None = None,
    *,
    params: PyTree | None = None,
    on_evaluation: Callable[[Evaluation], None] | None = None,
    on_finish: Callable[[TrainedRun], None] | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> TrainedRun:
    """The run, trained from its start to its end; its numbers are those of a sweep.

    Args:
        run: the spec, with a budget.
        options: how the run is laid out on devices.
        params: the weights to begin with, for a run that starts from another's.
        on_evaluation: is called with each evaluation, in order, on the host.
        on_finish: is called with what is returned.
        progress: is called after each chunk of steps; may raise to stop.

    Raises:
        SpecError: the spec has no budget, or cannot be trained, or a callback raised.
        DataError: the data are missing or malformed.
    """
    refuse_fork()
    run.check_budget()
    alone = plan([Point(run=run)])
    alone.check_files()
    check_parts([run])
    device.enable_compile_cache()
    (planned,) = alone.runs
    dataset = load(planned.run.data, planned.run.seed_data)
    program = compile_cohort([planned.run], dataset, options or TrainOptions())
    last = _LastSnapshot(progress, on_evaluation)
    initial = None if params is None else (lambda _: params)
    (finished,) = train_trunks(alone.cohorts[0].trunks, program, last, initial)
    (result,) = finished.results
    record = run_record(result, attempts=1, metrics={}, compile_s=program.compile_s)
    trained = TrainedRun(
        run=planned.run,
        result=result,
        row=record["row"],
        history=result.history,
        params=program.weights(last.snapshot.state, [planned.run]),
    )
    call_back(on_finish, "on_finish", trained)
    return trained


def call_back(function: Callable[[T], None] | None, name: str, value: T) -> None:
    """Calls a function of the user's. Raises `SpecError`, one line, if it raises."""
    if function is None:
        return
    try:
        function(value)
    except Exception as error:
        text = one_line(error)
        raise SpecError(f"{name} raised {type(error).__name__}: {text}") from error


class _LastSnapshot:
    """A checkpointer that keeps nothing but the snapshot at the end."""

    snapshot: Snapshot

    def __init__(
        self,
        progress: Callable[[Progress], None],
        on_evaluation: Callable[[Evaluation], None] | None,
    ) -> None:
        self._progress, self._on_evaluation = progress, on_evaluation
        self._told = 0

    def reached(self, progress: Progress) -> None:
        """Tells of a chunk, and of evaluations that are new."""
        self._progress(progress)
        (history,) = progress.histories
        self._tell(history)

    def _tell(self, history: History) -> None:
        new = history.evaluations[self._told :]
        self._told = len(history.evaluations)
        for evaluation in new:
            call_back(self._on_evaluation, "on_evaluation", evaluation)

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
        self._tell(snapshot.histories[0])
