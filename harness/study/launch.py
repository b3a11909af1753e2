"""Workers of a sweep, started by an engine and watched until they end."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from harness.engines.base import Engine
from harness.errors import Interrupted, StoreError, UnreachableError
from harness.store import Store
from harness.study import sources
from harness.sweeps.options import WorkerOptions
from harness.sweeps.plan import Plan

LOOK_S = 0.5
"""Seconds between two looks at the store while workers are watched."""


class Watcher(Protocol):
    """Who is told what workers do, and says when they shall stop."""

    def running(self) -> AbstractContextManager[object]:
        """A block in which workers run."""
        ...

    def update(self) -> None:
        """Looks at the store."""
        ...

    def print(self, line: str) -> None:
        """Tells one line of news."""
        ...

    def stopping(self) -> bool:
        """Whether somebody has asked for a stop."""
        ...


def launch(
    store: Store,
    plan: Plan,
    engine: Engine,
    watcher: Watcher,
    *,
    workers: int | None,
    options: WorkerOptions,
) -> None:
    """Starts workers and watches them until they have ended.

    Whatever ends this, an interrupt too, the workers checkpoint and end before it
    returns.

    Raises:
        Interrupted: the watcher asked for a stop.
        StoreError: a worker ended with a mistake of the user's.
        SpecError: parts of the user's own cannot be found by workers.
    """
    count = trunk_count(plan.without(store.finished()))
    slots = engine.slots(workers, count, options.train.devices)
    options = dataclasses.replace(options, peers=len(slots))
    command = [sys.executable, "-m", "harness", "work", store.uri]
    command += ["--sweep", plan.sweep_id, "--options", options.to_json()]
    command += sources.arguments(plan)
    with watcher.running():
        try:
            engine.start(command, slots, logs_of(store))
            while engine.poll() and not watcher.stopping():
                _look(watcher)
                for line in engine.news():
                    watcher.print(line)
                time.sleep(LOOK_S)
            if watcher.stopping():
                watcher.print("stopping: workers checkpoint; twice more to end at once")
        finally:
            _stop(engine)
        _look(watcher)
    if watcher.stopping():
        left = len(plan.without(store.finished()).runs)
        raise Interrupted(f"interrupted with {left} runs to do; run again to go on")
    if engine.error:
        raise StoreError(engine.error)


def trunk_count(plan: Plan) -> int:
    """The number of trunks, each of which one worker trains at a time."""
    return sum(len(cohort.trunks) for cohort in plan.cohorts)


def _stop(engine: Engine) -> None:
    """Ends the workers, also where an interrupt comes while they are ending."""
    try:
        engine.stop()
    except KeyboardInterrupt:
        engine.stop()
        raise


def _look(watcher: Watcher) -> None:
    """Shows what is new; workers outlast a store that is out of reach, so this does."""
    try:
        watcher.update()
    except UnreachableError as error:
        watcher.print(f"warning: {error}; the workers go on")


def logs_of(store: Store) -> Path:
    """The folder of what workers print."""
    if store.folder:
        return store.folder / "work" / "logs"
    # A name that others can foresee could be a link of theirs.
    return Path(tempfile.mkdtemp(prefix="scaling-harness-"))
