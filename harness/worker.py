"""The worker loop: lease a trunk, train its runs, publish each, repeat.

Any number of workers, on any number of machines, run this loop against one store; what
they know of each other is the store's files. The trunk is the unit of work: its runs
share training. What has a record is never trained again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

from harness import data, device
from harness.checkpoint import EVERY_S, Checkpoints
from harness.count import train_flops_per_step
from harness.errors import HarnessError, Interrupted
from harness.plan import Cohort, Plan, PlannedRun, Trunk
from harness.record import metric_rows, run_record
from harness.spec import RunSpec
from harness.step import State
from harness.store import Store, add_metrics, add_record, attempts, refresh_runs
from harness.store.leases import Lease, LeaseLost, Leases, Terms
from harness.train import (
    Moment,
    Position,
    Program,
    Result,
    compile_cohort,
    train_trunk,
)

REFRESH_S = 60.0
"""Least seconds between two rebuilds of the runs table, and two looks at all records,
while training."""
POLL_S = 5.0
"""Seconds between two looks for work while others hold all that is left."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How a worker works; none of it can change a run's numbers."""

    terms: Terms = dataclasses.field(default_factory=Terms)
    checkpoint_s: float = EVERY_S
    poll_s: float = POLL_S
    slot: int = 0
    """Workers started together have different slots, and begin at different cohorts."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Listener:
    """What the caller wants to hear about, and whether the worker shall stop."""

    progress: Callable[[Moment], None] = lambda _: None
    compiling: Callable[[RunSpec], None] = lambda _: None
    finished: Callable[[PlannedRun, dict[str, Any]], None] = lambda _run, _row: None
    failed: Callable[[Trunk, Exception], None] = lambda _trunk, _error: None
    warning: Callable[[str], None] = lambda _: None
    stopping: Callable[[], bool] = lambda: False


def work(
    store: Store,
    plan: Plan,
    listener: Listener | None = None,
    options: Options | None = None,
) -> None:
    """Trains what is left of `plan`, until nothing is left for anyone to train.

    Raises `Interrupted` once the listener says so: what was being trained is then
    checkpointed and free for others. Failures are rows of the store, not exceptions.
    """
    Worker(store, plan, listener or Listener(), options or Options()).run()


class Worker:
    """One worker at work on a plan."""

    def __init__(
        self, store: Store, plan: Plan, listener: Listener, options: Options
    ) -> None:
        self.store, self.listener, self.options = store, listener, options
        self.queue = Queue(store, plan, slot=options.slot)
        self.leases = Leases(store, terms=options.terms)
        self.program: tuple[Cohort, Program] | None = None
        self._refreshed = time.monotonic()

    def run(self) -> None:
        """Works until nothing is left."""
        device.enable_compile_cache()
        try:
            while self.queue.has_work():
                self._check_stop()
                if not self._work_once():
                    self._pause()
                self._refresh()
        finally:
            # An error on the way out must not hide the one that led here.
            with contextlib.suppress(HarnessError):
                refresh_runs(self.store)

    def _work_once(self) -> bool:
        """Trains the first trunk that can be had; False if none can."""
        for cohort, trunk in self.queue.candidates():
            if not self._left_of(trunk):
                self.queue.drop(trunk)
            elif lease := self.leases.claim(trunk.trunk_id):
                self.queue.drop(trunk)
                self.queue.own = cohort
                self._hold(lease, cohort, trunk)
                return True
        self.queue.look()
        return False

    def _hold(self, lease: Lease, cohort: Cohort, trunk: Trunk) -> None:
        # Looked at again under the lease: now nobody else can change any of this.
        if not (left := self._left_of(trunk)):
            lease.dissolve()
        elif attempts.must_wait(self.store, trunk.trunk_id):
            lease.release("another worker has failed at it since")
            self.queue.look()
        else:
            Attempt(self, lease, Trunk(runs=left), cohort).run()

    def _left_of(self, trunk: Trunk) -> tuple[PlannedRun, ...]:
        cancelled = attempts.cancelled(self.store)
        left = (r for r in trunk.runs if not self.store.is_finished(r.run_id))
        return tuple(r for r in left if r.run_id not in cancelled)

    def program_of(self, cohort: Cohort, run: RunSpec) -> Program:
        """The cohort's program, on the data of `run` (subsets and seeds differ)."""
        dataset = _dataset(run.data, run.seed_data)
        if self.program is None or self.program[0] is not cohort:
            # The old program and its data go before the new ones come.
            self.program = None
            self.listener.compiling(run)
            program = compile_cohort(run, dataset)
        elif (before := self.program[1]).dataset is dataset:
            program = dataclasses.replace(before, compile_s=0.0)
        else:
            program = before.with_data(dataset, run)
        self.program = cohort, program
        return program

    def _check_stop(self) -> None:
        if self.listener.stopping():
            raise Interrupted

    def _pause(self) -> None:
        until = time.monotonic() + self.options.poll_s
        while (left := until - time.monotonic()) > 0:
            self._check_stop()
            time.sleep(min(0.2, left))

    def _refresh(self) -> None:
        # The view is for readers; several workers may bring it up to date in turn.
        if time.monotonic() > self._refreshed + REFRESH_S:
            refresh_runs(self.store)
            self.queue.look()
            self._refreshed = time.monotonic()


class Queue:
    """What is left of a plan, in the order in which a worker wants it.

    Its own cohort first (that is compiled), then cohorts that nobody has begun, longest
    first: a long one begun last would keep the others waiting.
    """

    def __init__(self, store: Store, plan: Plan, *, slot: int) -> None:
        self.store = store
        self.own: Cohort | None = None
        """The cohort that the worker has compiled."""
        cohorts = sorted(plan.cohorts, key=lambda c: -c.flops)
        turn = slot % max(1, len(cohorts))
        self._all = [
            (cohort, trunk)
            for cohort in cohorts[turn:] + cohorts[:turn]
            for trunk in sorted(cohort.trunks, key=lambda t: -t.flops)
        ]
        self._left: dict[str, tuple[Cohort, Trunk]] = {}
        self._not_before: dict[str, float] = {}

    def has_work(self) -> bool:
        """Whether a run is left that is not finished, failed for good, or cancelled."""
        if not self._left:
            self.look()
        return bool(self._left)

    def look(self) -> None:
        """Looks again at what is finished, failed and cancelled."""
        done = self.store.finished() | attempts.cancelled(self.store)
        failed = attempts.failures(self.store)
        self._left, self._not_before = {}, {}
        for cohort, trunk in self._all:
            if any(r.run_id not in done for r in trunk.runs):
                self._add(cohort, trunk, failed.get(trunk.trunk_id, []))

    def _add(
        self, cohort: Cohort, trunk: Trunk, failed: list[attempts.Failure]
    ) -> None:
        if failed:
            outlook = attempts.outlook(failed)
            if outlook.given_up:
                return
            age = self.store.files.age(outlook.last.name) or 0.0
            self._not_before[trunk.trunk_id] = time.monotonic() + outlook.wait_s - age
        self._left[trunk.trunk_id] = (cohort, trunk)

    def drop(self, trunk: Trunk) -> None:
        """Takes a trunk off the list, until the next look."""
        self._left.pop(trunk.trunk_id, None)

    def candidates(self) -> Iterator[tuple[Cohort, Trunk]]:
        """Trunks to try for, best first; one that waits for a retry is left out."""
        ready = [e for e in self._left.values() if self._is_ready(e[1])]
        yield from (e for e in ready if e[0] is self.own)
        begun = set(self.store.files.names("work"))
        busy = {id(cohort) for cohort, trunk in ready if trunk.trunk_id in begun}
        others = [e for e in ready if e[0] is not self.own]
        yield from sorted(others, key=lambda e: id(e[0]) in busy)

    def _is_ready(self, trunk: Trunk) -> bool:
        return self._not_before.get(trunk.trunk_id, 0.0) <= time.monotonic()


class Attempt:
    """One trunk, from its lease to its release; the trunk's keeper while it trains."""

    def __init__(
        self, worker: Worker, lease: Lease, trunk: Trunk, cohort: Cohort
    ) -> None:
        self.worker, self.lease, self.trunk, self.cohort = worker, lease, trunk, cohort
        self.store, self.listener = worker.store, worker.listener
        self.left = {r.run_id: r for r in trunk.runs}
        self.position: dict[str, Any] = {}
        self._cancelled: set[str] = set()
        self._seen = time.monotonic()
        self.checkpoints = Checkpoints(
            self.store,
            trunk.trunk_id,
            check=lease.check,
            warn=self.listener.warning,
            every_s=worker.options.checkpoint_s,
        )

    def run(self) -> None:
        """Trains and publishes; lets go of the lease however that ends."""
        if self.lease.took_over:
            self._fail(None)
            if attempts.outlook(self._failures()).given_up:
                self.lease.release("given up")
                return
        try:
            with self.lease.beating(self._beat):
                self._train()
                # One may still be being written, into the folder that goes now.
                self.checkpoints.wait()
            self.lease.dissolve()
        except LeaseLost:
            self.listener.warning(f"trunk {self.trunk.trunk_id} went to another worker")
        except _Cancelled:
            self.lease.release("cancelled")
        except Interrupted:
            self.lease.release("interrupted")
            raise
        # What the user can mend, or a store that cannot be written, would fail every
        # run alike.
        except (HarnessError, BrokenPipeError) as error:
            if self._has_lost(error):
                return
            with contextlib.suppress(HarnessError):
                self.lease.release("stopped")
            raise
        # Another error of one trunk must not take the sweep with it: it becomes a row.
        except Exception as error:
            if self._has_lost(error):
                return
            self._fail(error)
            self.lease.release("failed")
            self.listener.failed(self.trunk, error)
        finally:
            self.checkpoints.close()

    def _has_lost(self, error: Exception) -> bool:
        """Whether the error comes of files that went with the lease."""
        try:
            self.lease.check()
        except LeaseLost:
            self.listener.warning(
                f"trunk {self.trunk.trunk_id} went to another worker ({error})"
            )
            return True
        except HarnessError:
            pass
        return False

    def _train(self) -> None:
        program = self.worker.program_of(self.cohort, self.trunk.runs[0].run)
        for result in train_trunk(self.trunk, program, self):
            planned = result.planned
            if planned.run_id in self.left:
                self.listener.finished(planned, self._publish(result))
            self.checkpoints.drop(planned.run_id)

    def _publish(self, result: Result) -> dict[str, Any]:
        """Publishes a run; returns its row of the runs table."""
        planned = result.planned
        rows = metric_rows(planned, result.history, annealed=result.annealed)
        self.lease.check()
        stamp = add_metrics(self.store, planned.run_id, rows)
        tries = 1 + attempts.count(self.store, planned.trunk_id)
        self.lease.check()
        record = run_record(result, attempts=tries, metrics=stamp)
        add_record(self.store, record)
        del self.left[planned.run_id]
        return record["row"]

    def newest(self, part: str, until: int, like: State) -> Position | None:
        """What an earlier attempt has kept."""
        return self.checkpoints.newest(part, until, like)

    def reached(self, moment: Moment) -> None:
        """After each chunk: tells, keeps the position if it is time, stops if asked."""
        self.position = self._describe(moment)
        self.listener.progress(moment)
        if self.lease.lost:
            raise LeaseLost
        self.checkpoints.look()
        if moment.position.history.diverged_step is not None:
            return
        stop = self._reason_to_stop()
        if stop or self.checkpoints.due():
            self.checkpoints.save(moment)
        if stop:
            self.checkpoints.wait()
            raise stop

    def _reason_to_stop(self) -> type[BaseException] | None:
        if self.listener.stopping():
            return Interrupted
        return _Cancelled if self._cancelled else None

    def _beat(self) -> dict[str, Any]:
        """Called in the lease's thread before each beat."""
        self._cancelled = attempts.cancelled(self.store).intersection(list(self.left))
        return self.position

    def _describe(self, moment: Moment) -> dict[str, Any]:
        run, clock = moment.planned.run, time.monotonic()
        elapsed, self._seen = max(clock - self._seen, 1e-9), clock
        flops = moment.new_steps * train_flops_per_step(run)
        return {
            "run_id": moment.planned.run_id,
            "step": moment.position.step,
            "steps": run.steps,
            "loss": moment.loss if math.isfinite(moment.loss) else None,
            "tokens_per_second": moment.new_steps * run.tokens_per_step / elapsed,
            "flops_per_second": flops / elapsed,
        }

    def _fail(self, error: Exception | None) -> None:
        attempts.add_failure(
            self.store,
            self.trunk.trunk_id,
            self.left,
            error=error,
            progress=f"{len(self.left)} runs to do; kept: {self.checkpoints.progress}",
        )

    def _failures(self) -> list[attempts.Failure]:
        return attempts.failures(self.store).get(self.trunk.trunk_id, [])


class _Cancelled(Exception):  # noqa: N818 - no error: somebody asked for it
    """A run of this trunk is no longer wanted: let go, and look again what is left."""


@functools.lru_cache(maxsize=4)
def _dataset(spec: Any, seed_data: int) -> data.Dataset:
    return data.load(spec, seed_data)
