"""One attempt at trunks that are trained together: train, publish, let go."""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError, Interrupted
from harness.specs.count import train_flops_per_step
from harness.store import add_metrics, add_record, requests
from harness.store import failures as attempts
from harness.store.leases import LeaseLost, LeaseSet
from harness.sweeps.plan import Cohort, PlannedRun, Trunk
from harness.training.loop import Progress, Result, Snapshot
from harness.training.step import State
from harness.workers.checkpoint import Checkpoints
from harness.workers.record import metric_rows, run_record

if TYPE_CHECKING:
    from harness.workers.worker import Worker


class Attempt:
    """Trunks trained together, from their leases to the release; and their keeper."""

    def __init__(
        self,
        worker: Worker,
        holding: LeaseSet,
        trunks: Sequence[Trunk],
        cohort: Cohort,
        left: Mapping[str, PlannedRun],
    ) -> None:
        self.worker, self.holding, self.cohort = worker, holding, cohort
        self.store, self.listener = worker.store, worker.listener
        self.left = dict(left)
        """Runs that are not published yet, by id."""
        self.trunks = _shortened(trunks, self.left)
        self.doing: dict[str, dict[str, Any]] = {}
        """What each trunk's beat tells."""
        self._stop: type[BaseException] | None = None
        self._cancelled: set[str] = set()
        self._seen = time.monotonic()
        self.checkpoints = Checkpoints(
            self.store,
            [trunk.trunk_id for trunk in trunks],
            check=holding.check,
            warn=self.listener.warning,
            every_s=worker.options.checkpoint_s,
        )

    def run(self) -> None:
        """Trains and publishes; lets go of the leases however that ends."""
        if self._has_killed_too_often():
            self.holding.release("given up")
            return
        try:
            with self.holding.heartbeats(self._beat):
                self._train()
                # One may still be being written, into the folder that goes now.
                self.checkpoints.wait()
            self.holding.delete()
        except LeaseLost:
            self._tell_lost()
        except _Cancelled:
            self.holding.release("cancelled")
        except Interrupted:
            self.holding.release("interrupted")
            raise
        # What the user can mend, or a store that cannot be written, would fail every
        # run alike.
        except (HarnessError, BrokenPipeError) as error:
            if self._has_lost(error):
                return
            with contextlib.suppress(HarnessError):
                self.holding.release("stopped")
            raise
        # Another error of one trunk must not take the sweep with it: it becomes a row.
        except Exception as error:
            if self._has_lost(error):
                return
            for trunk in self.trunks:
                self._fail(trunk, error)
            self.holding.release("failed")
            self.listener.failed(self.trunks[0], error)
        finally:
            self.checkpoints.close()

    def _has_killed_too_often(self) -> bool:
        """Notes which trunks' workers vanished; whether one has too often."""
        gone = set(self.holding.took_over)
        for trunk in self.trunks:
            if trunk.trunk_id in gone:
                self._fail(trunk, None)
        failed = attempts.failures(self.store) if gone else {}
        return any(
            attempts.retry_decision(failed[i]).given_up for i in gone & failed.keys()
        )

    def _tell_lost(self, why: str = "") -> None:
        names = ", ".join(trunk.trunk_id for trunk in self.trunks)
        self.listener.warning(f"trunk {names} went to another worker{why}")
        # The others of a population are still ours to give.
        with contextlib.suppress(HarnessError):
            self.holding.release("one of its population went to another worker")

    def _has_lost(self, error: Exception) -> bool:
        """Whether the error comes of files that went with a lease."""
        try:
            self.holding.check()
        except LeaseLost:
            self._tell_lost(f" ({error})")
            return True
        except HarnessError:
            pass
        return False

    def _train(self) -> None:
        program = functools.partial(self.worker.program_of, self.cohort, self.trunks)
        results = self.worker.train(self.trunks, program, self)
        with contextlib.closing(results):
            for result in results:
                planned = result.planned
                if planned.run_id in self.left:
                    self.listener.finished(planned, self._publish(result))
                if planned.trunk_id == self.trunks[-1].trunk_id:
                    self.checkpoints.drop(self._branch_of(planned))

    def _branch_of(self, planned: PlannedRun) -> str:
        """Name of the part that a population's runs of this length are kept under."""
        first = self.trunks[0].runs
        return next(r.run_id for r in first if r.run.steps == planned.run.steps)

    def _publish(self, result: Result) -> dict[str, Any]:
        """Publishes a run; returns its row of the runs table."""
        planned = result.planned
        rows = metric_rows(planned, result.history, annealed=result.annealed)
        self.holding.check(planned.trunk_id)
        stamp = add_metrics(self.store, planned.run_id, rows)
        tries = 1 + attempts.count(self.store, planned.trunk_id)
        self.holding.check(planned.trunk_id)
        record = run_record(result, attempts=tries, metrics=stamp)
        add_record(self.store, record)
        del self.left[planned.run_id]
        return record["row"]

    def newest(self, part: str, until: int, like: State) -> Snapshot | None:
        """What an earlier attempt has kept."""
        return self.checkpoints.newest(part, until, like)

    def reached(self, progress: Progress) -> None:
        """After each chunk: tells, and stops where a lease is lost."""
        self._describe(progress)
        self.listener.progress(progress)
        if self.holding.lost:
            raise LeaseLost
        self.checkpoints.look()

    def due(self) -> bool:
        """Whether it is time for a checkpoint, or somebody wants this to stop."""
        self._stop = self._reason_to_stop()
        return bool(self._stop) or self.checkpoints.due()

    def keep(
        self, progress: Progress, snapshot: Snapshot, trunk: Snapshot | None
    ) -> None:
        """Saves in the background, or waits for that and stops if asked to."""
        self.checkpoints.save(progress.runs, progress.part, snapshot, trunk)
        if self._stop:
            self.checkpoints.wait()
            raise self._stop

    def complete(self, progress: Progress, snapshot: Snapshot) -> None:
        """Before the first of a population is published, all of it is kept.

        Its runs can then not be told apart by who came first: after a crash the others
        are published from the same numbers.
        """
        if len(progress.runs) > 1:
            self.checkpoints.save(progress.runs, progress.part, snapshot)
            self.checkpoints.wait()

    def _reason_to_stop(self) -> type[BaseException] | None:
        if self.listener.stopping():
            return Interrupted
        return _Cancelled if self._cancelled else None

    def _beat(self, trunk_id: str) -> dict[str, Any]:
        """Called in the leases' thread before each beat."""
        self._cancelled = requests.cancelled(self.store).intersection(list(self.left))
        return self.doing.get(trunk_id, {})

    def _describe(self, progress: Progress) -> None:
        clock = time.monotonic()
        elapsed, self._seen = max(clock - self._seen, 1e-9), clock
        for planned, loss in zip(progress.runs, progress.losses, strict=True):
            run = planned.run
            flops = progress.new_steps * train_flops_per_step(run)
            self.doing[planned.trunk_id] = {
                "run_id": planned.run_id,
                "step": progress.step,
                "steps": run.steps,
                "loss": loss if math.isfinite(loss) else None,
                "tokens_per_second": progress.new_steps * run.tokens_per_step / elapsed,
                "flops_per_second": flops / elapsed,
            }

    def _fail(self, trunk: Trunk, error: Exception | None) -> None:
        left = [r.run_id for r in trunk.runs if r.run_id in self.left]
        attempts.add_failure(
            self.store,
            trunk.trunk_id,
            left,
            error=error,
            progress=f"{len(left)} runs to do; kept: {self.checkpoints.progress}",
        )


def _shortened(trunks: Sequence[Trunk], left: Mapping[str, Any]) -> list[Trunk]:
    """The trunks without the lengths that none of them has left to train."""
    lengths = {
        index
        for trunk in trunks
        for index, planned in enumerate(trunk.runs)
        if planned.run_id in left
    }
    return [Trunk(runs=tuple(t.runs[i] for i in sorted(lengths))) for t in trunks]


class _Cancelled(Exception):  # noqa: N818 - no error: somebody asked for it
    """A run of this trunk is no longer wanted: let go, and look again what is left."""
