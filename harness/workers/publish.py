"""Publishes the results of training: rows of unfinished runs, finished runs."""

from __future__ import annotations

from collections.abc import Sequence

from harness.specs.canonical import JsonObject
from harness.store import Store, add_metrics, add_record, failures, schema
from harness.store.leases import LeaseSet
from harness.sweeps.plan import PlannedRun
from harness.training.history import History
from harness.training.loop import Result
from harness.workers.record import metric_rows, run_record


def publish(
    store: Store, leases: LeaseSet, result: Result, *, compile_s: float
) -> JsonObject:
    """Publishes a finished run under its lease; returns its row of the runs table.

    `compile_s` is the run's share of the seconds that compiling took.

    Raises:
        LeaseLost: the run's trunk has gone to another worker.
    """
    planned = result.planned
    rows = metric_rows(planned, result.history, annealed=result.annealed)
    leases.check(planned.trunk_id)
    stamp = add_metrics(store, planned.run_id, rows)
    attempts = 1 + failures.count(store, planned.trunk_id)
    leases.check(planned.trunk_id)
    record = run_record(result, attempts=attempts, metrics=stamp, compile_s=compile_s)
    add_record(store, record)
    row: JsonObject = record["row"]
    return row


class SegmentRows:
    """Metric rows of unfinished runs, published in pieces into a folder."""

    def __init__(self, store: Store, folder: str) -> None:
        self._store, self._folder = store, folder
        self._published: dict[str, int] = {}
        """Step up to which each segment's rows are published."""

    def publish(
        self,
        segment: str,
        step: int,
        histories: Sequence[History],
        runs: Sequence[PlannedRun],
    ) -> None:
        """Publishes the rows since those before, up to `step`, if there are any."""
        after = self._published.get(segment, 0)
        rows = [
            row
            for planned, history in zip(runs, histories, strict=True)
            for row in metric_rows(planned, history, annealed=False, after=after)
        ]
        if rows:
            table = schema.metrics_table(rows)
            name = f"{self._folder}/{segment}-{after:09d}-{step:09d}.parquet"
            self._store.files.publish(name, schema.parquet_bytes(table))
            self._published[segment] = step

    def remove_after(self, segment: str, step: int) -> None:
        """Removes rows beyond the step that training goes on from: they come again."""
        self._published[segment] = 0
        for name in self._store.files.names(self._folder):
            named, _, steps = name.removesuffix(".parquet").partition("-")
            if named == segment:
                last = int(steps.rpartition("-")[2])
                if last > step:
                    self._store.files.remove(f"{self._folder}/{name}")
                else:
                    self._published[segment] = max(self._published[segment], last)
