"""Trains trunks: the steps that their runs share once, then each run's own last steps.

A run's numbers are the same whether it is trained alone or as a branch, in one go or
resumed: the state at its branch step is a copy, the batches and learning rates are
functions of the step, and the evaluation grid below the branch step is common to all
lengths. Trunks with runs of equal lengths can be trained side by side, as a population.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from harness.families.arrays import PyTree
from harness.sweeps.plan import PlannedRun, Trunk
from harness.training.history import History, common_grid
from harness.training.program import Initial, Measured, Program
from harness.training.snapshot import TRUNK, Checkpointer, Progress, Snapshot


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """A finished run, as it goes into the store."""

    planned: PlannedRun
    history: History
    population: int = 1
    """Runs that were trained side by side with it, itself included."""
    devices: int = 1
    """Devices it was spread over, alone or as one of a population."""

    @property
    def status(self) -> str:
        """Either "done" or "diverged"; both are results."""
        return "done" if self.diverged_step is None else "diverged"

    @property
    def diverged_step(self) -> int | None:
        """First step at which the run is seen to have diverged.

        That is the first step whose loss is not finite, or else the step of the last
        evaluation, if the run ends above the loss of its untrained model.
        """
        history, run = self.history, self.planned.run
        if history.diverged_step is not None:
            return history.diverged_step
        guess = run.loss.uninformed(run.data.shape)
        ended_above = history.has_learnt_nothing(guess)
        return history.evaluations[-1].step if ended_above else None

    @property
    def stopped_step(self) -> int | None:
        """Step at which the run's patience ended it early."""
        return self.history.stopped_step(self.planned.run.patience)

    @property
    def annealed(self) -> bool:
        """Whether the learning rate has decayed to its end."""
        finished = self.status == "done" and self.stopped_step is None
        return finished and self.planned.run.schedule.anneals


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FinishedRuns:
    """The runs of one length, one of each trunk, that were finished together."""

    segment: str
    """Name that their snapshots were kept under."""
    results: tuple[Result, ...]
    weights: tuple[PyTree | None, ...] = ()
    """On the host, of each run that is to be kept; None for the others."""


def train_trunks(
    trunks: Sequence[Trunk],
    program: Program,
    checkpointer: Checkpointer,
    initial: Initial | None = None,
) -> Generator[FinishedRuns]:
    """Trains the trunks side by side, yielding the runs of each length in turn.

    Their runs have the same lengths and the same data; `program` is of their number.
    Training starts at the newest snapshots that `checkpointer` has of them, else from
    fresh weights, or from those that `initial` has for runs that start from others.
    """
    by_length = list(zip(*[trunk.runs for trunk in trunks], strict=True))
    start = program.start([planned.run for planned in by_length[0]], initial)
    like = jax.eval_shape(lambda: start)

    def newest(segment: str, until: int) -> Snapshot | None:
        snapshot = checkpointer.newest(segment, until, like)
        if snapshot is None:
            return None
        return dataclasses.replace(snapshot, state=program.place(snapshot.state))

    trunk = newest(TRUNK, by_length[0][0].branch_step) or Snapshot(
        state=start, step=0, histories=[History() for _ in trunks]
    )
    for runs in by_length:
        first, last = runs[0], runs is by_length[-1]
        segment = functools.partial(
            Segment, runs=runs, program=program, checkpointer=checkpointer
        )
        branch = newest(first.run_id, first.run.steps)
        # Later runs need the shared snapshot even where a branch goes on by itself.
        if not (last and branch):
            trunk = segment(name=TRUNK, snapshot=trunk).advance(first.branch_step)
        if last and first.keep_trunk and branch is None:
            checkpointer.keep_trunk(runs, trunk)
        if branch is None:
            branch = trunk if last else trunk.copy()
        ending = segment(name=first.run_id, snapshot=branch)
        ending.advance(first.run.steps, trunk=None if last else trunk)
        yield ending.finish()


class Chunk(NamedTuple):
    """A chunk in flight: its results may still be on their way from the device."""

    first: int
    last: int
    """One more than its last step."""
    losses: jax.Array
    measure: Callable[[], Sequence[Measured]] | None
    """Waits for the evaluation at its end, if there is one."""


@dataclasses.dataclass(kw_only=True, slots=True)
class Segment:
    """A stretch of the schedules of runs that are trained side by side."""

    name: str
    runs: tuple[PlannedRun, ...]
    program: Program
    checkpointer: Checkpointer
    snapshot: Snapshot
    """Where training stands; only `_begin` replaces it."""

    def advance(self, to: int, trunk: Snapshot | None = None) -> Snapshot:
        """Trains up to step `to`, evaluating on the common grid; returns the snapshot.

        Each chunk is begun before the results of the one before are looked at, so that
        the device does not wait for the host. Stops early once every run has diverged,
        as the histories then say, or is at the end of its patience.
        """
        stopwatch = _Stopwatch(self.snapshot.histories)
        grid = common_grid(to, self.runs[0].run.evals_per_octave)
        pending: Chunk | None = None
        while self.snapshot.step < to and not self._is_over():
            begun = self._begin(to, grid)
            if pending:
                self._settle(pending, stopwatch)
            pending = begun
            if self.checkpointer.due():
                progress = self._settle(pending, stopwatch)
                pending = None
                if not self._is_over():
                    self.checkpointer.keep(progress, self.snapshot, trunk)
        if pending:
            self._settle(pending, stopwatch)
        return self.snapshot

    def finish(self) -> FinishedRuns:
        """Evaluates the end of the runs, unless that lies on the grid."""
        histories, steps = self.snapshot.histories, self.runs[0].run.steps
        evaluated = {e.step for h in histories for e in h.evaluations[-1:]}
        if not self._is_over() and steps not in evaluated:
            members = [planned.run for planned in self.runs]
            measure = self.program.evaluate(self.snapshot.state, members)
            self._add_evaluations(steps, measure())
        progress = self._progress(self.snapshot.step, new_steps=0)
        self.checkpointer.complete(progress, self.snapshot)
        results = [
            Result(
                planned=planned,
                history=history,
                population=len(self.runs),
                devices=self.program.sharding.devices,
            )
            for planned, history in zip(self.runs, histories, strict=True)
        ]
        return FinishedRuns(
            segment=self.name, results=tuple(results), weights=self._weights()
        )

    def _weights(self) -> tuple[PyTree | None, ...]:
        if not any(planned.keep for planned in self.runs):
            return (None,) * len(self.runs)
        members = [planned.run for planned in self.runs]
        weights = self.program.weights_on_host(self.snapshot.state, members)
        return tuple(
            each if planned.keep else None
            for planned, each in zip(self.runs, weights, strict=True)
        )

    def _begin(self, to: int, grid: Sequence[int]) -> Chunk:
        """Starts the next chunk, which ends at an evaluation, or when it is full."""
        first = self.snapshot.step
        last = min(to, first + self.program.chunk, *(g for g in grid if g > first))
        runs = [planned.run for planned in self.runs]
        state, losses = self.program.train(self.snapshot.state, runs, first, last)
        self.snapshot = dataclasses.replace(self.snapshot, state=state, step=last)
        measure = self.program.evaluate(state, runs) if last in grid else None
        return Chunk(first, last, losses, measure)

    def _settle(self, chunk: Chunk, stopwatch: _Stopwatch) -> Progress:
        """Waits for a chunk's results, adds them to the histories, passes them on."""
        losses_PS = np.atleast_2d(jax.device_get(chunk.losses))
        losses_PS = losses_PS[:, : chunk.last - chunk.first]
        seconds = stopwatch.seconds()
        for planned, history, losses_S in zip(
            self.runs, self.snapshot.histories, losses_PS, strict=True
        ):
            if not history.is_over(planned.run.patience):
                history.add_losses(losses_S)
                history.seconds = seconds
        if chunk.measure is not None:
            self._add_evaluations(chunk.last, chunk.measure())
        progress = self._progress(chunk.last, new_steps=chunk.last - chunk.first)
        self.checkpointer.reached(progress)
        return progress

    def _add_evaluations(self, step: int, measured: Sequence[Measured]) -> None:
        for planned, history, evaluation in zip(
            self.runs, self.snapshot.histories, measured, strict=True
        ):
            if not history.is_over(planned.run.patience):
                history.add_evaluation(step, *evaluation)

    def _progress(self, step: int, new_steps: int) -> Progress:
        losses = tuple(history.losses[-1] for history in self.snapshot.histories)
        return Progress(
            runs=self.runs,
            segment=self.name,
            step=step,
            new_steps=new_steps,
            losses=losses,
            histories=tuple(self.snapshot.histories),
        )

    def _is_over(self) -> bool:
        members = zip(self.runs, self.snapshot.histories, strict=True)
        return all(history.is_over(p.run.patience) for p, history in members)


class _Stopwatch:
    """The seconds that each member of a population has been trained for."""

    def __init__(self, histories: Sequence[History]) -> None:
        self._members = len(histories)
        self._before = max(history.seconds for history in histories)
        self._since = time.perf_counter()

    def seconds(self) -> float:
        return self._before + (time.perf_counter() - self._since) / self._members
