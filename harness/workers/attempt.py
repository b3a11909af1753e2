"""One attempt at trunks that are trained side by side: train, publish, let go."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence

from harness.errors import HarnessError, Interrupted
from harness.store import Store, failures
from harness.store.leases import LeaseLost, LeaseSet
from harness.store.weights import publish_weights
from harness.sweeps.plan import PlannedRun, Trunk
from harness.training.loop import FinishedRuns
from harness.training.program import Initial, Program
from harness.training.snapshot import TRUNK, Checkpointer, Progress, Snapshot
from harness.training.step import State
from harness.training.tensors import tensor_bytes
from harness.workers.checkpoint import Checkpoints
from harness.workers.kept_trunks import keep_trunks
from harness.workers.listener import Heartbeat, Listener
from harness.workers.publish import SegmentRows, publish
from harness.workers.starts import Starts

Trainer = Callable[
    [Sequence[Trunk], Callable[[], Program], Checkpointer, Initial],
    Generator[FinishedRuns],
]
"""Trains trunks side by side, by the program that it asks for."""


class Cancelled(Exception):  # noqa: N818 - no error: somebody asked for it
    """A run of the trunks is no longer wanted: they are let go, and looked at again."""


class Attempt:
    """Trunks trained side by side, from their leases to the release."""

    def __init__(
        self,
        store: Store,
        leases: LeaseSet,
        trunks: Sequence[Trunk],
        unpublished: Mapping[str, PlannedRun],
        *,
        listener: Listener,
        checkpoint_s: float,
    ) -> None:
        self._store, self._leases, self._listener = store, leases, listener
        self._trunks = trunks
        self._unpublished = dict(unpublished)
        self._heartbeat = Heartbeat(store, self._unpublished)
        self._rows = SegmentRows(store, f"work/{trunks[0].trunk_id}/parts")
        self._checkpoints = Checkpoints(
            store,
            [trunk.trunk_id for trunk in trunks],
            publish_rows=self._rows.publish,
            check=leases.check,
            warn=listener.warning,
            every_s=checkpoint_s,
        )

    def run(
        self,
        train: Trainer,
        program: Callable[[Sequence[Trunk]], tuple[Program, float]],
    ) -> None:
        """Trains and publishes; lets go of the leases however that ends.

        `program` returns the program for the trunks, and how long compiling it took.
        """
        if self._has_killed_too_often():
            self._leases.release("given up")
            return
        try:
            with self._leases.heartbeats(self._heartbeat.content):
                self._train(train, program)
                # One may still be being written, into the folder that goes now.
                self._checkpoints.wait()
            self._leases.delete()
        except LeaseLost:
            self._warn_lost()
        except Cancelled:
            self._leases.release("cancelled")
        except Interrupted:
            self._leases.release("interrupted")
            raise
        # What the user can mend, or a store that cannot be written, would fail every
        # run alike.
        except (HarnessError, BrokenPipeError) as error:
            if self._has_lost(error):
                return
            with contextlib.suppress(HarnessError):
                self._leases.release("stopped")
            raise
        # Another error of one trunk must not take the sweep with it: it becomes a row.
        except Exception as error:
            if self._has_lost(error):
                return
            for trunk in self._trunks:
                self._add_failure(trunk, error)
            self._leases.release("failed")
            self._listener.failed(self._trunks[0], error)
        finally:
            self._checkpoints.close()

    def _train(
        self,
        train: Trainer,
        program: Callable[[Sequence[Trunk]], tuple[Program, float]],
    ) -> None:
        compile_s = 0.0

        def compiled() -> Program:
            nonlocal compile_s
            ready, compile_s = program(self._trunks)
            return ready

        checkpointer = LeasedCheckpointer(
            self._checkpoints, self._rows, self._leases, self._heartbeat, self._listener
        )
        groups = train(self._trunks, compiled, checkpointer, Starts(self._store))
        with contextlib.closing(groups):
            for group in groups:
                self._publish(group, compile_s / len(self._trunks))
                # The runs of the shortest length pay for it.
                compile_s = 0.0

    def _publish(self, group: FinishedRuns, compile_s: float) -> None:
        for result, weights in zip(group.results, group.weights, strict=True):
            planned = result.planned
            if planned.run_id in self._unpublished:
                if weights is not None:
                    self._leases.check(planned.trunk_id)
                    content = tensor_bytes(planned.run, weights)
                    spec = planned.run.to_dict()
                    publish_weights(self._store, planned.run_id, spec, content)
                row = publish(self._store, self._leases, result, compile_s=compile_s)
                del self._unpublished[planned.run_id]
                self._listener.finished(planned, row)
        self._checkpoints.drop(group.segment)

    def _has_killed_too_often(self) -> bool:
        """Notes which trunks' workers vanished; whether one has too often."""
        gone = set(self._leases.took_over)
        for trunk in self._trunks:
            if trunk.trunk_id in gone:
                self._add_failure(trunk, None)
        failed = failures.failures(self._store) if gone else {}
        return any(
            failures.retry_decision(failed[i]).given_up for i in gone & failed.keys()
        )

    def _has_lost(self, error: Exception) -> bool:
        """Whether the error comes of files that went with a lease."""
        try:
            self._leases.check()
        except LeaseLost:
            self._warn_lost(f" ({error})")
            return True
        except HarnessError:
            pass
        return False

    def _warn_lost(self, why: str = "") -> None:
        names = ", ".join(trunk.trunk_id for trunk in self._trunks)
        self._listener.warning(f"trunk {names} went to another worker{why}")
        # The others of a population are still ours to give.
        with contextlib.suppress(HarnessError):
            self._leases.release("one of its population went to another worker")

    def _add_failure(self, trunk: Trunk, error: Exception | None) -> None:
        """Publishes that this trunk failed: with an error, or without a word."""
        run_ids = [r.run_id for r in trunk.runs if r.run_id in self._unpublished]
        failures.add_failure(
            self._store,
            trunk.trunk_id,
            run_ids,
            error=error,
            progress=f"{len(run_ids)} runs to do; kept: {self._checkpoints.progress}",
        )


class LeasedCheckpointer:
    """Keeps snapshots while the leases hold, and stops training when it is asked to."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        rows: SegmentRows,
        leases: LeaseSet,
        heartbeat: Heartbeat,
        listener: Listener,
    ) -> None:
        self._checkpoints, self._rows, self._leases = checkpoints, rows, leases
        self._heartbeat, self._listener = heartbeat, listener
        self._stop: type[BaseException] | None = None

    def newest(self, segment: str, until: int, like: State) -> Snapshot | None:
        """The newest sound snapshot that an earlier attempt has kept."""
        snapshot = self._checkpoints.newest(segment, until, like)
        if segment == TRUNK:
            kept = self._checkpoints.newest_kept(until, like)
            if kept and (snapshot is None or kept.step > snapshot.step):
                snapshot = kept
        if snapshot:
            self._rows.remove_after(segment, snapshot.step)
        return snapshot

    def reached(self, progress: Progress) -> None:
        """Spreads the news of a chunk; stops where a lease is lost."""
        self._heartbeat.reached(progress)
        self._listener.progress(progress)
        if self._leases.lost:
            raise LeaseLost
        self._checkpoints.look()

    def due(self) -> bool:
        """Whether it is time for a checkpoint, or somebody wants this to stop."""
        self._stop = self._reason_to_stop()
        return bool(self._stop) or self._checkpoints.due()

    def keep(
        self, progress: Progress, snapshot: Snapshot, trunk: Snapshot | None
    ) -> None:
        """Saves in the background, or waits for that and stops if asked to."""
        self._checkpoints.save(progress.runs, progress.segment, snapshot, trunk)
        if self._stop:
            self._checkpoints.wait()
            raise self._stop

    def keep_trunk(self, runs: Sequence[PlannedRun], snapshot: Snapshot) -> None:
        """Keeps the end of the trunks for longer runs, under the leases."""
        self._leases.check()
        keep_trunks(self._checkpoints.store, runs, snapshot)

    def complete(self, progress: Progress, snapshot: Snapshot) -> None:
        """Keeps all of a population before the first of it is published.

        Its runs can then not be told apart by who came first: after a crash the others
        are published from the same numbers.
        """
        if len(progress.runs) > 1:
            self._checkpoints.save(progress.runs, progress.segment, snapshot)
            self._checkpoints.wait()

    def _reason_to_stop(self) -> type[BaseException] | None:
        if self._listener.stopping():
            return Interrupted
        return Cancelled if self._heartbeat.cancelled else None
