"""The events of a sweep, read from its store: for callbacks and for other programs.

An event is a JSON object with `event` and `time` (UTC, ISO 8601) and:

    sweep_started   name, sweep_id, runs, to_do
    run_claimed     trunk_id, worker, host
    evaluation      run_id, step, tokens, metrics {"eval/loss": …, "train/loss": …}
    run_finished    run_id, status, loss, row (the run's row of the table of runs)
    run_failed      trunk_id, kind, error
    worker_ended    text
    sweep_ended     finished, left

Evaluations of a run come when its worker has published them: with each checkpoint, and
all that were not told before when the run has finished. What others trained is told as
well: the store knows no difference.
"""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from harness.errors import SpecError, StoreError
from harness.specs.canonical import JsonObject
from harness.store import Store, failures, schema
from harness.store.status import holders
from harness.store.write import now
from harness.sweeps.plan import Plan

Event = dict[str, Any]
Callback = Callable[[Mapping[str, Any]], None]
"""Is given an event, a copy of its own."""


class StoreEvents:
    """What is new in a store since the last look, as events."""

    def __init__(self, store: Store, plan: Plan) -> None:
        self._store = store
        self._run_ids = {run.run_id for run in plan.runs}
        self._trunks = {run.trunk_id for run in plan.runs}
        self._finished = store.finished() & self._run_ids
        self._failures = {failure.name for failure in self._all_failures()}
        self._claims: set[tuple[str, str]] = set()
        self._parts: set[str] = set()
        self._told: defaultdict[str, int] = defaultdict(int)
        """The step up to which each run's evaluations were told."""

    @property
    def finished(self) -> int:
        """Runs of the plan that have finished."""
        return len(self._finished)

    def poll(self) -> Iterator[Event]:
        """The events since the last call."""
        for worker in holders(self._store):
            claim = (worker.trunk_id, worker.worker)
            if worker.trunk_id in self._trunks and claim not in self._claims:
                self._claims.add(claim)
                yield event(
                    "run_claimed",
                    trunk_id=worker.trunk_id,
                    worker=worker.worker,
                    host=worker.host,
                )
        yield from self._evaluations_of_parts()
        for run_id in sorted((self._store.finished() & self._run_ids) - self._finished):
            self._finished.add(run_id)
            yield from self._finished_run(run_id)
        for failure in self._all_failures():
            if failure.name not in self._failures:
                self._failures.add(failure.name)
                yield event(
                    "run_failed",
                    trunk_id=failure.trunk_id,
                    kind=failure.kind,
                    error=failure.error,
                )

    def _evaluations_of_parts(self) -> Iterator[Event]:
        for trunk_id in self._trunks & set(self._store.files.names("work")):
            folder = f"work/{trunk_id}/parts"
            for base in sorted(self._store.files.names(folder)):
                name = f"{folder}/{base}"
                if name not in self._parts and base.endswith(".parquet"):
                    self._parts.add(name)
                    with contextlib.suppress(StoreError, FileNotFoundError):
                        # Rows of an unfinished run go when it has finished.
                        content = self._store.files.read(name)
                        yield from self._evaluations(schema.read_parquet(content, name))

    def _finished_run(self, run_id: str) -> Iterator[Event]:
        with contextlib.suppress(StoreError):
            yield from self._evaluations(self._store.metrics(run_id))
        try:
            row: JsonObject = self._store.record(run_id)["row"]
        except (StoreError, KeyError):
            # A damaged record is the doctor's to tell.
            return
        yield event(
            "run_finished",
            run_id=run_id,
            status=row.get("status"),
            loss=row.get("loss"),
            row=row,
        )

    def _evaluations(self, table: pa.Table) -> Iterator[Event]:
        """The evaluations among long rows that were not told before."""
        steps: dict[tuple[str, int], Event] = {}
        for row in table.to_pylist():
            place = (row["run_id"], row["step"])
            if row["step"] > self._told[row["run_id"]]:
                told = steps.setdefault(
                    place,
                    event(
                        "evaluation",
                        run_id=row["run_id"],
                        step=row["step"],
                        tokens=row["tokens"],
                        metrics={},
                    ),
                )
                told["metrics"][f"{row['split']}/{row['metric']}"] = row["value"]
        for place in sorted(steps):
            self._told[place[0]] = max(self._told[place[0]], place[1])
            yield steps[place]

    def _all_failures(self) -> Iterable[failures.Failure]:
        by_trunk = failures.failures(self._store)
        return [f for trunk in self._trunks & by_trunk.keys() for f in by_trunk[trunk]]


def event(event: str, /, **fields: object) -> Event:
    """An event of this kind, with the time."""
    return {"event": event, "time": now(), **fields}


class EventFile:
    """A file of JSON lines, one for each event, that other programs may follow."""

    def __init__(self, path: str | Path | None) -> None:
        try:
            self._file = path and Path(path).open("a")  # noqa: SIM115 - closed below
        except OSError as error:
            raise SpecError(
                f"events {path} cannot be written: {error.strerror}"
            ) from None

    def write(self, told: Event) -> None:
        """Adds a line, which readers see at once."""
        if self._file:
            self._file.write(json.dumps(told, default=str) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        if self._file:
            self._file.close()


class Hearer:
    """Passes events on to callbacks and to a file."""

    def __init__(
        self,
        store: Store,
        plan: Plan,
        file: EventFile,
        on_evaluation: Callback | None = None,
        on_finish: Callback | None = None,
    ) -> None:
        self._news = StoreEvents(store, plan)
        self._store, self._file = store, file
        self._callbacks = {"evaluation": on_evaluation, "run_finished": on_finish}

    def start(self, name: str, plan: Plan, remaining: Plan) -> None:
        """Tells that a sweep begins."""
        self.tell(
            event(
                "sweep_started",
                name=name,
                sweep_id=plan.sweep_id,
                runs=len(plan.runs),
                to_do=len(remaining.runs),
            )
        )

    def end(self, plan: Plan) -> None:
        """Writes that the sweep has ended, or was left, and closes the file."""
        left = len(plan.without(self._store.finished()).runs)
        self._file.write(
            event("sweep_ended", finished=len(plan.runs) - left, left=left)
        )
        self._file.close()

    @property
    def finished(self) -> int:
        """Runs that have finished."""
        return self._news.finished

    def poll(self) -> Iterator[Event]:
        """The new events, once they were told."""
        for told in self._news.poll():
            self.tell(told)
            yield told

    def tell(self, told: Event) -> None:
        """Writes an event, and calls who waits for it."""
        self._file.write(told)
        if callback := self._callbacks.get(told["event"]):
            try:
                # A copy: whatever is done to it, the numbers are in the store.
                callback({**told})
            except Exception as error:
                raise SpecError(
                    f"the callback for {told['event']!r} raised "
                    f"{type(error).__name__}: {error}"
                ) from error
