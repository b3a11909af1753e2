"""Trains trunks: the steps that their runs share once, then each run's own last steps.

A run's numbers are the same whether it is trained alone or as a branch, in one go or
resumed: the state at its branch step is a copy, the batches and learning rates are
functions of the step, and the evaluation grid below the branch step is common to all
lengths. Trunks with runs of equal lengths can be trained side by side, as a population.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Generator, Sequence
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from harness.specs.run import RunSpec
from harness.sweeps.plan import PlannedRun, Trunk
from harness.training.history import History, common_grid
from harness.training.program import Measured, Program
from harness.training.step import State


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """A finished run, as it goes into the store."""

    planned: PlannedRun
    history: History
    compile_s: float
    population: int = 1
    """Runs that were trained side by side with it, itself included."""
    devices: int = 1
    """Those it was spread over, alone or as one of a population."""

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
        history, task = self.history, self.planned.run.data.shape
        if history.diverged_step is not None:
            return history.diverged_step
        guess = 0.0 if task.target == "real" else math.log(task.outputs)
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
        return finished and self.planned.run.optim.anneals


@dataclasses.dataclass(kw_only=True, slots=True)
class Snapshot:
    """Where training stands: the state after `step` updates, and how it came there."""

    state: State
    step: int = 0
    histories: list[History]
    """One for each member of the population."""


Measure = Callable[[], Sequence[Measured]]
"""Waits for an evaluation of each member that was started."""
TRUNK = "trunk"
"""Name of the shared part of a trunk; a branch has its run's id as its name."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """A chunk was trained: of which runs, on which part, up to which step."""

    runs: tuple[PlannedRun, ...]
    """The members of the population; one run, if it is trained by itself."""
    part: str
    step: int
    new_steps: int
    losses: tuple[float, ...]
    """Each member's last training loss."""


class Checkpointer(Protocol):
    """Keeps positions, so that training can go on where another process left it."""

    def newest(self, part: str, until: int, like: State) -> Snapshot | None:
        """The newest sound snapshot of a part at a step of at most `until`."""
        ...

    def reached(self, progress: Progress) -> None:
        """Hears of each chunk's end; may raise to stop here."""
        ...

    def due(self) -> bool:
        """Whether to keep the snapshot at the end of the chunk that was just begun."""
        ...

    def keep(
        self, progress: Progress, snapshot: Snapshot, trunk: Snapshot | None
    ) -> None:
        """Keeps a snapshot; may raise to stop here.

        `trunk` is, while a branch is trained, the snapshot that later runs go on from.
        """
        ...

    def complete(self, progress: Progress, snapshot: Snapshot) -> None:
        """Hears that runs are at their ends, before they are yielded."""
        ...


def train_trunks(
    trunks: Sequence[Trunk], program: Program, keeper: Checkpointer
) -> Generator[Result]:
    """Trains the trunks side by side, yielding each run as soon as it is finished.

    Their runs have the same lengths and the same data; `program` is of their number.
    What `keeper` has of them is gone on from.
    """
    by_length = list(zip(*[trunk.runs for trunk in trunks], strict=True))
    firsts = [planned.run for planned in by_length[0]]
    start = program.start(firsts)
    segment = Segment(
        program=program, keeper=keeper, like=jax.eval_shape(lambda: start)
    )
    here = segment.kept(TRUNK, by_length[0][0].branch_step)
    here = here or Snapshot(state=start, histories=[History() for _ in trunks])
    for index, runs in enumerate(by_length):
        last, first = index == len(by_length) - 1, runs[0]
        branch = segment.kept(first.run_id, first.run.steps)
        # Later runs need the shared snapshot even where a branch goes on by itself.
        if not (last and branch):
            segment.advance(here, runs, TRUNK, first.branch_step)
        if branch is None:
            # The next chunk uses up its state: a branch needs a copy of its own.
            branch = here if last else _copy(here)
        segment.advance(
            branch, runs, first.run_id, first.run.steps, None if last else here
        )
        keeper.complete(segment.finish(branch, runs, first.run_id), branch)
        compile_s = program.compile_s / len(trunks) if index == 0 else 0.0
        for planned, history in zip(runs, branch.histories, strict=True):
            yield Result(
                planned=planned,
                history=history,
                compile_s=compile_s,
                population=len(trunks),
                devices=program.sharding.devices,
            )


def _copy(snapshot: Snapshot) -> Snapshot:
    return Snapshot(
        state=jax.tree.map(jnp.copy, snapshot.state),
        step=snapshot.step,
        histories=[history.branch() for history in snapshot.histories],
    )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """Moves positions forward along runs' schedules."""

    program: Program
    keeper: Checkpointer
    like: State
    """Shapes and types of a state."""

    def kept(self, part: str, until: int) -> Snapshot | None:
        """The newest snapshot of a part that an earlier attempt has left."""
        snapshot = self.keeper.newest(part, until, self.like)
        if snapshot:
            snapshot.state = self.program.place(snapshot.state)
        return snapshot

    def advance(
        self,
        at: Snapshot,
        runs: tuple[PlannedRun, ...],
        part: str,
        to: int,
        trunk: Snapshot | None = None,
    ) -> None:
        """Trains up to step `to`, evaluating on the common grid on the way.

        Each chunk is begun before the results of the one before are looked at, so that
        the device does not wait for the host. Stops early once every run has diverged,
        as the histories then say, or is at the end of its patience.
        """
        specs = [planned.run for planned in runs]
        watch = _Stopwatch(at.histories)
        grid = common_grid(to, specs[0].evals_per_octave)
        begun: Callable[[], Progress] | None = None
        while at.step < to and not _all_over(at.histories, specs):
            first = at.step
            ends = [to, first + self.program.chunk, *(g for g in grid if g > first)]
            at.step = min(ends)
            at.state, losses = self.program.train(at.state, specs, first, at.step)
            measure = self.program.evaluate(at.state) if at.step in grid else None
            settle = functools.partial(
                self._settle, (first, at.step), losses, measure, at, runs, part, watch
            )
            if begun:
                self.keeper.reached(begun())
            begun = settle
            if self.keeper.due():
                self.keeper.reached(progress := begun())
                begun = None
                if not _all_over(at.histories, specs):
                    self.keeper.keep(progress, at, trunk)
        if begun:
            self.keeper.reached(begun())

    def _settle(
        self,
        steps: tuple[int, int],
        losses: jax.Array,
        measure: Measure | None,
        at: Snapshot,
        runs: tuple[PlannedRun, ...],
        part: str,
        watch: _Stopwatch,
    ) -> Progress:
        """Waits for a chunk's results and adds them to the histories."""
        first, last = steps
        losses_PS = np.atleast_2d(jax.device_get(losses))[:, : last - first]
        seconds = watch.seconds()
        for planned, history, losses_S in zip(
            runs, at.histories, losses_PS, strict=True
        ):
            if not history.is_over(planned.run.patience):
                history.add_losses(losses_S)
                history.seconds = seconds
        if measure is not None:
            _add_evaluations(last, measure(), at.histories, runs)
        return _moment(runs, part, at, last, last - first)

    def finish(self, at: Snapshot, runs: tuple[PlannedRun, ...], part: str) -> Progress:
        """Evaluates the end of the runs, unless that lies on the grid."""
        evaluated = {e.step for h in at.histories for e in h.evaluations[-1:]}
        specs = [planned.run for planned in runs]
        if not _all_over(at.histories, specs) and specs[0].steps not in evaluated:
            measured = self.program.evaluate(at.state)()
            _add_evaluations(specs[0].steps, measured, at.histories, runs)
        return _moment(runs, part, at, at.step, 0)


def _add_evaluations(
    step: int,
    measured: Sequence[Measured],
    histories: Sequence[History],
    runs: Sequence[PlannedRun],
) -> None:
    for planned, history, found in zip(runs, histories, measured, strict=True):
        if not history.is_over(planned.run.patience):
            history.add_evaluation(step, *found)


class _Stopwatch:
    """Seconds that each member of a population has been trained for."""

    def __init__(self, histories: Sequence[History]) -> None:
        self._members = len(histories)
        self._before = max(history.seconds for history in histories)
        self._since = time.perf_counter()

    def seconds(self) -> float:
        return self._before + (time.perf_counter() - self._since) / self._members


def _moment(
    runs: tuple[PlannedRun, ...], part: str, at: Snapshot, step: int, new_steps: int
) -> Progress:
    losses = tuple(history.losses[-1] for history in at.histories)
    return Progress(runs=runs, part=part, step=step, new_steps=new_steps, losses=losses)


def _all_over(histories: Sequence[History], runs: Sequence[RunSpec]) -> bool:
    return all(h.is_over(r.patience) for h, r in zip(histories, runs, strict=True))
