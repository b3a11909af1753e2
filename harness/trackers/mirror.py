"""Mirrors a results folder to a tracker: from the folder alone, live and afterwards.

What a tracker has accepted stands in a ledger in the folder's `work/`, which is written
after each batch. So a mirror that was killed goes on where it was, and one that is
started again sends nothing twice.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from harness.errors import StoreError
from harness.specs.canonical import JsonObject
from harness.specs.run import flat
from harness.store import Store, schema
from harness.trackers.base import Row, Tracker

BATCH = 200
"""Rows of a run that are sent before the ledger is written."""
SUMMARY = ("status", "loss", "loss_se", "best_loss", "train_loss", "bits_per_byte")
"""Numbers of a finished run that are mirrored beside its counts."""


class Mirror:
    """What a tracker has of a results folder, and what is still to be sent."""

    def __init__(self, store: Store, tracker: Tracker, target: str) -> None:
        self._store, self._tracker = store, tracker
        key = hashlib.sha256(target.encode()).hexdigest()[:16]
        self._ledger_name = f"work/mirrors/{key}.json"
        self._ledger: dict[str, JsonObject] = self._read_ledger()
        self._begun: set[str] = set()
        self._points = self._sweep_points()

    def send(self) -> None:
        """Sends all that is new in the folder; raises whatever the tracker raises."""
        finished = self._store.finished()
        for run_id in sorted(self._points):
            entry = self._ledger.get(run_id, {})
            if not entry.get("ended"):
                self._send_run(run_id, finished=run_id in finished)

    def left(self) -> int:
        """Finished runs that the tracker does not have whole."""
        ended = {i for i, entry in self._ledger.items() if entry.get("ended")}
        return len((self._store.finished() & self._points.keys()) - ended)

    def close(self) -> None:
        """Nothing more is sent."""
        self._tracker.close()

    def _send_run(self, run_id: str, *, finished: bool) -> None:
        after = self._after(run_id)
        rows = [
            row for row in self._rows(run_id, finished=finished) if row.step > after
        ]
        if not rows and not finished:
            return
        if run_id not in self._begun:
            point = self._points[run_id]
            self._tracker.begin(run_id, _name(point), self._facts(run_id, point))
            self._begun.add(run_id)
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            self._tracker.add(run_id, batch)
            self._note(run_id, step=batch[-1].step)
        if finished:
            row = self._store.record(run_id)["row"]
            counts = {k: v for k, v in row.items() if k.startswith(("n_", "flops_"))}
            summary = {k: row[k] for k in SUMMARY if k in row} | counts
            self._tracker.end(run_id, summary)
            self._note(run_id, ended=True)

    def _after(self, run_id: str) -> int:
        """The step up to which rows need not be sent."""
        if self._tracker.starts_over and run_id not in self._begun:
            return 0
        return int(self._ledger.get(run_id, {}).get("step", 0))

    def _rows(self, run_id: str, *, finished: bool) -> list[Row]:
        if finished:
            return _by_step(self._store.metrics(run_id).to_pylist())
        trunk_id = self._points[run_id]["trunk_id"]
        return _by_step(self._parts(trunk_id, run_id))

    def _parts(self, trunk_id: str, run_id: str) -> Iterator[JsonObject]:
        """The rows of a run in training."""
        folder = f"work/{trunk_id}/parts"
        for base in self._store.files.names(folder):
            try:
                content = self._store.files.read(f"{folder}/{base}")
                table = schema.read_parquet(content, base)
            except (StoreError, FileNotFoundError):
                # They go when the run has finished.
                continue
            yield from (row for row in table.to_pylist() if row["run_id"] == run_id)

    def _facts(self, run_id: str, point: JsonObject) -> JsonObject:
        """Spec and coordinates of a run as a flat dictionary."""
        coords = {f"grid.{name}": value for name, value in point["coords"].items()}
        return {"run_id": run_id, **flat(point["spec"]), **coords}

    def _sweep_points(self) -> dict[str, JsonObject]:
        sweeps = self._store.sweeps()
        return {p["run_id"]: p for sweep in sweeps for p in sweep["points"]}

    def _note(self, run_id: str, **news: object) -> None:
        self._ledger[run_id] = {**self._ledger.get(run_id, {}), **news}
        content = json.dumps(self._ledger, sort_keys=True).encode()
        self._store.files.publish(self._ledger_name, content)

    def _read_ledger(self) -> dict[str, JsonObject]:
        try:
            ledger = json.loads(self._store.files.read(self._ledger_name))
        except (FileNotFoundError, ValueError):
            # Without one everything is sent; trackers take what comes twice once.
            return {}
        return ledger if isinstance(ledger, dict) else {}


def _by_step(rows: Iterable[Mapping[str, object]]) -> list[Row]:
    steps: defaultdict[int, dict[str, float]] = defaultdict(dict)
    facts: dict[int, tuple[int, float]] = {}
    for row in rows:
        step = int(row["step"])  # type: ignore[call-overload]
        steps[step][f"{row['split']}/{row['metric']}"] = float(row["value"])  # type: ignore[arg-type]
        facts[step] = (row["tokens"], row["wall_s"])  # type: ignore[assignment]
    return [Row(step, *facts[step], values) for step, values in sorted(steps.items())]


def _name(point: JsonObject) -> str:
    """A name for people: the family, and where the run lies in its sweep."""
    coords = " ".join(f"{k}={v}" for k, v in point["coords"].items())
    return f"{point['spec']['model']['family']} {coords}".strip()
