"""The news of training: for the worker's caller, and for its fellows by heartbeats."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Collection

from harness.specs.canonical import JsonObject
from harness.specs.count import train_flops_per_step
from harness.specs.run import RunSpec
from harness.store import Store, requests
from harness.sweeps.plan import PlannedRun, Trunk
from harness.training.snapshot import Progress


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Listener:
    """The caller's functions that hear the news, and that say whether to stop."""

    progress: Callable[[Progress], None] = lambda _: None
    compiling: Callable[[RunSpec], None] = lambda _: None
    finished: Callable[[PlannedRun, JsonObject], None] = lambda _run, _row: None
    failed: Callable[[Trunk, Exception], None] = lambda _trunk, _error: None
    warning: Callable[[str], None] = lambda _: None
    stopping: Callable[[], bool] = lambda: False


class Heartbeat:
    """The content of trunks' heartbeats, and the cancellations read with each."""

    def __init__(self, store: Store, unpublished: Collection[str]) -> None:
        self._store, self._unpublished = store, unpublished
        self._news: dict[str, JsonObject] = {}
        self._reached_at = time.monotonic()
        self.cancelled = False
        """Whether one of the runs was cancelled, when the last heartbeat was sent."""

    def content(self, trunk_id: str) -> JsonObject:
        """The news of a trunk; called in the leases' thread before each heartbeat."""
        cancelled = requests.cancelled(self._store)
        self.cancelled = not cancelled.isdisjoint(list(self._unpublished))
        return self._news.get(trunk_id, {})

    def reached(self, progress: Progress) -> None:
        """Takes note of a chunk that was trained."""
        now = time.monotonic()
        elapsed, self._reached_at = max(now - self._reached_at, 1e-9), now
        for planned, loss in zip(progress.runs, progress.losses, strict=True):
            run = planned.run
            flops = progress.new_steps * train_flops_per_step(run)
            self._news[planned.trunk_id] = {
                "run_id": planned.run_id,
                "step": progress.step,
                "steps": run.steps,
                "loss": loss if math.isfinite(loss) else None,
                "tokens_per_second": progress.new_steps * run.tokens_per_step / elapsed,
                "flops_per_second": flops / elapsed,
            }
