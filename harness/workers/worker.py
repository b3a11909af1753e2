"""The worker loop: lease a trunk, or a population of them, train, publish, repeat.

Any number of workers, on any number of machines, run this loop against one store; what
they know of each other is the store's files. The trunk is the unit of work: its runs
share training. What has a record is never trained again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any

from harness.data import reader
from harness.errors import HarnessError, Interrupted
from harness.specs.run import RunSpec
from harness.store import Store, failures, refresh_runs, requests, use_system_memory
from harness.store.leases import Leases, LeaseSet, claim_all
from harness.sweeps.options import WorkerOptions
from harness.sweeps.plan import Cohort, Plan, PlannedRun, Trunk
from harness.training import device
from harness.training.loop import Checkpointer, Progress, Result, train_trunks
from harness.training.program import Program, ProgramShape, compile_cohort
from harness.workers.compile_ahead import BackgroundCompiler, should_compile_ahead
from harness.workers.forecast import Timing
from harness.workers.population import Populations
from harness.workers.probe import probe
from harness.workers.publish import Attempt
from harness.workers.queue import Queue

REFRESH_S = 60.0
"""Least seconds between two rebuilds of the runs table, and two looks at all records,
while training."""
POLL_SHARE, SHORTEST_POLL_S = 0.1, 0.2
"""The pause between two looks for work, as a share of the wait so far, and the shortest
one in seconds: a sweep's end is seen soon, and a store is not asked much."""


Trainer = Callable[
    [Sequence[Trunk], Callable[[], Program], Checkpointer], Generator[Result]
]
"""Trains trunks side by side, by the program that it asks for."""


def train_here(
    trunks: Sequence[Trunk], program: Callable[[], Program], keeper: Checkpointer
) -> Generator[Result]:
    """On the devices of this host."""
    yield from train_trunks(trunks, program(), keeper)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Listener:
    """What the caller wants to hear about, and whether the worker shall stop."""

    progress: Callable[[Progress], None] = lambda _: None
    compiling: Callable[[RunSpec], None] = lambda _: None
    finished: Callable[[PlannedRun, dict[str, Any]], None] = lambda _run, _row: None
    failed: Callable[[Trunk, Exception], None] = lambda _trunk, _error: None
    warning: Callable[[str], None] = lambda _: None
    stopping: Callable[[], bool] = lambda: False


def work(
    store: Store,
    plan: Plan,
    listener: Listener | None = None,
    options: WorkerOptions | None = None,
) -> None:
    """Trains what is left of `plan`, until nothing is left for anyone to train.

    Raises `Interrupted` once the listener says so: what was being trained is then
    checkpointed and free for others. Failures are rows of the store, not exceptions.
    """
    Worker(store, plan, listener or Listener(), options or WorkerOptions()).run()


class Worker:
    """One worker at work on a plan."""

    def __init__(
        self,
        store: Store,
        plan: Plan,
        listener: Listener,
        options: WorkerOptions,
        train: Trainer = train_here,
    ) -> None:
        self.store, self.listener, self.options = store, listener, options
        self.train = train
        self.queue = Queue(store, plan, slot=options.slot)
        self.leases = Leases(store, terms=options.terms)
        self.populations = Populations(store, options.train, options.peers, self._probe)
        self._program: tuple[Cohort, Program] | None = None
        self._ahead = BackgroundCompiler()
        self._refreshed = self._worked = time.monotonic()

    def run(self) -> None:
        """Works until nothing is left."""
        device.enable_compile_cache()
        use_system_memory()
        try:
            while self.queue.has_work():
                self._check_stop()
                if self._work_once():
                    self._worked = time.monotonic()
                else:
                    self._pause()
                self._refresh()
        finally:
            self._ahead.close()
            # An error on the way out must not hide the one that led here.
            with contextlib.suppress(HarnessError):
                refresh_runs(self.store)

    def _work_once(self) -> bool:
        """Trains the first population that can be had; False if there is none."""
        for cohort, trunk in self.queue.candidates():
            if not self._left_of(trunk):
                self.queue.drop(trunk)
                continue
            trunks = self.populations.of(cohort, trunk)
            if holding := claim_all(self.leases, [t.trunk_id for t in trunks]):
                for member in trunks:
                    self.queue.drop(member)
                self.queue.own = cohort
                self._hold(holding, cohort, trunks)
                return True
        self.queue.look()
        return False

    def _hold(self, holding: LeaseSet, cohort: Cohort, trunks: Sequence[Trunk]) -> None:
        # Looked at again under the leases: now nobody else can change any of this.
        left = {r.run_id: r for trunk in trunks for r in self._left_of(trunk)}
        if not left:
            holding.delete()
        elif any(failures.must_wait(self.store, t.trunk_id) for t in trunks):
            holding.release("another worker has failed at it since")
            self.queue.look()
        else:
            Attempt(self, holding, trunks, cohort, left).run()

    def _left_of(self, trunk: Trunk) -> list[PlannedRun]:
        """The trunk's runs that are neither finished nor cancelled."""
        cancelled = requests.cancelled(self.store)
        left = (r for r in trunk.runs if not self.store.is_finished(r.run_id))
        return [r for r in left if r.run_id not in cancelled]

    def program_of(self, cohort: Cohort, trunks: Sequence[Trunk]) -> Program:
        """The cohort's program for these, on their data (subsets and seeds differ)."""
        runs = _firsts(trunks)
        run, members = runs[0], ProgramShape.of(runs)
        dataset = _dataset(run.data, run.seed_data)
        known = self._program
        if known and known[0] is cohort and known[1].members == members:
            program = dataclasses.replace(known[1], compile_s=0.0)
        else:
            # The old program and its data go before others come.
            self._program = known = None
            self.listener.compiling(run)
            if ready := self._ahead.take((cohort, members)):
                program = ready
            else:
                self._ahead.forget()
                program = compile_cohort(runs, dataset, self.options.train)
        if program.dataset is not dataset:
            program = program.with_data(dataset, run)
        self._program = cohort, program
        if self.options.compile_ahead and should_compile_ahead():
            self._look_ahead(program, run)
        return program

    def _look_ahead(self, present: Program, now: RunSpec) -> None:
        """Begins to compile what is likely to be trained after the present cohort."""
        upcoming = self.queue.upcoming()
        if upcoming is None or self.populations.needs_probe(*upcoming):
            return
        cohort, trunk = upcoming
        runs = _firsts(self.populations.of(cohort, trunk))
        # Other data would take memory that the present run may need.
        same = (runs[0].data, runs[0].seed_data) == (now.data, now.seed_data)
        if same and present.dataset.fits_device:
            self._ahead.start(
                (cohort, ProgramShape.of(runs)),
                lambda: compile_cohort(
                    runs, present.dataset, self.options.train, present
                ),
            )

    def _probe(self, trunks: Sequence[Trunk]) -> list[Timing]:
        runs = _firsts(trunks)
        run = runs[0]
        self._program = None
        self._ahead.forget()
        self.listener.compiling(run)
        dataset = _dataset(run.data, run.seed_data)
        return probe(runs, dataset, self.options.train)

    def _check_stop(self) -> None:
        if self.listener.stopping():
            raise Interrupted

    def _pause(self) -> None:
        now = time.monotonic()
        wait = max(SHORTEST_POLL_S, POLL_SHARE * (now - self._worked))
        until = now + min(wait, self.options.poll_s)
        while (left := until - time.monotonic()) > 0:
            self._check_stop()
            time.sleep(min(0.2, left))

    def _refresh(self) -> None:
        # The view is for readers; several workers may bring it up to date in turn.
        if time.monotonic() > self._refreshed + REFRESH_S:
            refresh_runs(self.store)
            self.queue.look()
            self._refreshed = time.monotonic()


def _firsts(trunks: Sequence[Trunk]) -> list[RunSpec]:
    return [trunk.runs[0].run for trunk in trunks]


@functools.lru_cache(maxsize=4)
def _dataset(spec: Any, seed_data: int) -> reader.Dataset:
    return reader.load(spec, seed_data)
