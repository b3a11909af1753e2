"""The worker loop: lease a trunk, or a population of them, train, publish, repeat.

Any number of workers, on any number of machines, run this loop against one store; what
they know of each other is the store's files. The trunk is the unit of work: its runs
share training. What has a record is never trained again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Mapping, Sequence

from harness.errors import HarnessError, Interrupted
from harness.store import Store, failures, refresh_runs, requests, use_system_memory
from harness.store.faults import WORKER_PATIENCE_S
from harness.store.leases import Leases, LeaseSet, claim_all
from harness.store.packing.pack import pack
from harness.sweeps.options import WorkerOptions
from harness.sweeps.plan import Cohort, Plan, PlannedRun, Trunk
from harness.training import device
from harness.training.loop import FinishedRuns, train_trunks
from harness.training.program import Initial, Program
from harness.training.snapshot import Checkpointer
from harness.workers.attempt import Attempt, Trainer
from harness.workers.listener import Listener
from harness.workers.population import Populations
from harness.workers.programs import Programs, should_compile_ahead
from harness.workers.queue import Queue

__all__ = ["Listener", "Worker", "work"]

REFRESH_S = 60.0
"""Least seconds between two rebuilds of the runs table, and two looks at all records,
while training."""
POLL_SHARE, SHORTEST_POLL_S = 0.1, 0.2
"""The pause between two looks for work, as a share of the wait so far, and the shortest
one in seconds: a sweep's end is seen soon, and a store is not asked much."""


def work(
    store: Store,
    plan: Plan,
    listener: Listener | None = None,
    options: WorkerOptions | None = None,
) -> None:
    """Trains what is left of `plan`, until nothing is left for anyone to train.

    Failures are rows of the store, not exceptions.

    Raises:
        Interrupted: the listener said so; what was being trained is checkpointed and
            free for others.
    """
    Worker(store, plan, listener or Listener(), options or WorkerOptions()).run()


def train_here(
    trunks: Sequence[Trunk],
    program: Callable[[], Program],
    checkpointer: Checkpointer,
    initial: Initial,
) -> Generator[FinishedRuns]:
    """Trains on the devices of this host."""
    yield from train_trunks(trunks, program(), checkpointer, initial)


class Worker:
    """One worker at work on a plan.

    On several hosts `train` is `harness.workers.hosts.Hosts.train`.
    """

    def __init__(
        self,
        store: Store,
        plan: Plan,
        listener: Listener,
        options: WorkerOptions,
        train: Trainer = train_here,
    ) -> None:
        self._store, self._listener, self._options = store, listener, options
        self._train = train
        self._queue = Queue(store, plan, slot=options.slot)
        self._leases = Leases(store, terms=options.terms)
        self._programs = Programs(options.train, listener.compiling)
        self._populations = Populations(
            store, options.train, options.peers, self._programs.probe
        )
        self._refreshed = self._worked = time.monotonic()

    def run(self) -> None:
        """Works until nothing is left."""
        device.enable_compile_cache()
        use_system_memory()
        faults = self._store.files.faults
        faults.patience_s = max(faults.patience_s, WORKER_PATIENCE_S)
        faults.stopping = self._listener.stopping
        if self._queue.has_work():
            # One whose device does not start must find that before it has a lease.
            device.describe()
        try:
            while self._queue.has_work():
                self._check_stop()
                if self._work_once():
                    self._worked = time.monotonic()
                else:
                    self._pause()
                self._refresh()
        finally:
            self._programs.close()
            # An error on the way out must not hide the one that led here.
            with contextlib.suppress(HarnessError):
                self._pack()
                refresh_runs(self._store)

    def _work_once(self) -> bool:
        """Trains the first population that can be had; False if there is none."""
        for cohort, trunk in self._queue.candidates():
            if not self._unpublished([trunk]):
                self._queue.drop(trunk)
                continue
            trunks = self._populations.of(cohort, trunk)
            if leases := claim_all(self._leases, [t.trunk_id for t in trunks]):
                for member in trunks:
                    self._queue.drop(member)
                self._queue.compiled = cohort
                self._attempt(leases, cohort, trunks)
                return True
        self._queue.look()
        return False

    def _attempt(
        self, leases: LeaseSet, cohort: Cohort, trunks: Sequence[Trunk]
    ) -> None:
        # Looked at again under the leases: now nobody else can change any of this.
        unpublished = self._unpublished(trunks)
        if not unpublished:
            leases.delete()
        elif any(failures.must_wait(self._store, t.trunk_id) for t in trunks):
            leases.release("another worker has failed at it since")
            self._queue.look()
        else:
            Attempt(
                self._store,
                leases,
                _shortened(trunks, unpublished),
                unpublished,
                listener=self._listener,
                checkpoint_s=self._options.checkpoint_s,
            ).run(self._train, lambda trunks: self._program(cohort, trunks))

    def _unpublished(self, trunks: Sequence[Trunk]) -> dict[str, PlannedRun]:
        """The trunks' runs that are neither finished nor cancelled, by id."""
        cancelled = requests.cancelled(self._store)
        runs = (r for t in trunks for r in t.runs if r.run_id not in cancelled)
        return {r.run_id: r for r in runs if not self._store.is_finished(r.run_id)}

    def _program(
        self, cohort: Cohort, trunks: Sequence[Trunk]
    ) -> tuple[Program, float]:
        """The program for these trunks and its compile seconds; begins the next."""
        program = self._programs.get(cohort, trunks)
        if self._options.compile_ahead and should_compile_ahead():
            upcoming = self._queue.upcoming()
            if upcoming and not self._populations.needs_probe(*upcoming):
                self._programs.begin(upcoming[0], self._populations.of(*upcoming))
        return program

    def _check_stop(self) -> None:
        if self._listener.stopping():
            raise Interrupted

    def _pause(self) -> None:
        now = time.monotonic()
        wait = max(SHORTEST_POLL_S, POLL_SHARE * (now - self._worked))
        until = now + min(wait, self._options.poll_s)
        while (remaining := until - time.monotonic()) > 0:
            self._check_stop()
            time.sleep(min(0.2, remaining))

    def _refresh(self) -> None:
        # The view is for readers; several workers may bring it up to date in turn.
        if time.monotonic() > self._refreshed + REFRESH_S:
            self._pack()
            refresh_runs(self._store)
            self._queue.look()
            self._refreshed = time.monotonic()

    def _pack(self) -> None:
        if self._options.pack_every:
            pack(self._store, least=self._options.pack_every, in_turn=True)


def _shortened(
    trunks: Sequence[Trunk], unpublished: Mapping[str, PlannedRun]
) -> list[Trunk]:
    """The trunks without the lengths that none of them has left to train."""
    lengths = {
        index
        for trunk in trunks
        for index, planned in enumerate(trunk.runs)
        if planned.run_id in unpublished
    }
    return [Trunk(runs=tuple(t.runs[i] for i in sorted(lengths))) for t in trunks]
