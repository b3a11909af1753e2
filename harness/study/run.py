"""Sweeps run from Python: the same as `harness run`, without a command line."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from harness.engines.base import engine_named
from harness.errors import Interrupted
from harness.store import Store, refresh_runs
from harness.study import prepare, sources
from harness.study.events import Callback, EventFile, Hearer, event
from harness.study.fork import refuse_fork
from harness.study.launch import LOOK_S, launch, logs_of
from harness.study.study import Study
from harness.sweeps.options import TrainOptions, WorkerOptions
from harness.sweeps.plan import Plan
from harness.sweeps.plan import plan as plan_of
from harness.sweeps.sweep import Point, Sweep
from harness.trackers.processes import mirrors

Train = Callable[[Store, Plan, "_Watcher", WorkerOptions], None]


def run(
    sweep: Sweep | Sequence[Point],
    out: str | Path | None = None,
    *,
    name: str | None = None,
    question: str = "",
    workers: int | None = None,
    engine: str = "local",
    options: WorkerOptions | TrainOptions | None = None,
    on_evaluation: Callback | None = None,
    on_finish: Callback | None = None,
    track: Sequence[str] = (),
    events: str | Path | None = None,
    progress: bool = True,
) -> Study:
    """Trains what is not finished yet of a sweep, and opens its results folder.

    Args:
        sweep: a `Sweep`, or the points of one.
        out: path or address of the results folder; by default results/NAME.
        name: of the sweep; by default that of the script, or "sweep".
        question: what the sweep asks; it heads the report.
        workers: worker processes; by default one per GPU, or per CPU core. With 0 this
            process trains by itself, one trunk after another, as a debugger likes it.
        engine: where workers are started.
        options: how workers train and share the sweep.
        on_evaluation: is called with each event "evaluation" (see
            `harness.study.events`).
        on_finish: is called with each event "run_finished".
        track: trackers that mirror the folder while it is trained, as `--track` takes
            them.
        events: a file that gets all events as JSON lines.
        progress: whether to show a progress bar, in a terminal or a notebook.

    Raises:
        KeyboardInterrupt: after an interrupt; workers have checkpointed and ended, and
            the same call goes on where they stopped.
        SpecError: the sweep cannot be run, or a callback raised.
        HarnessError: data are missing, or the store cannot be written.
    """
    sources.refuse_while_loading()
    sweep = sweep if isinstance(sweep, Sweep) else Sweep(sweep)
    name = name or _script_name()
    planned = plan_of(sweep.points, sweep.keep_weights)
    prepare.check_parts(planned)
    if workers != 0:
        sources.arguments(planned)
        _warn_of_held_gpu()
    say = print if progress else _silent
    file = EventFile(events)
    place = str(Path("results") / name) if out is None else str(out)
    store, remaining = prepare.write_sweep(
        planned, place, name=name, doc=question, promises=sweep.promises, say=say
    )
    hearer = Hearer(store, planned, file, on_evaluation, on_finish)
    watcher = _Watcher(hearer, len(planned.runs), progress)
    train = _train_here if workers == 0 else _launched(engine, workers)
    try:
        hearer.start(name, planned, remaining)
        if remaining.runs:
            with mirrors(store.uri, track, logs_of(store), watcher.print) as look:
                watcher.look = look
                train(store, planned, watcher, _options(options))
    finally:
        # A worker killed after its last record may have left the view behind.
        refresh_runs(store)
        hearer.end(planned)
    return Study(store)


def _launched(engine: str, workers: int | None) -> Train:
    """Training by worker processes. Raises `SpecError` for an unknown engine."""
    starter = engine_named(engine)

    def train(
        store: Store, plan: Plan, watcher: _Watcher, options: WorkerOptions
    ) -> None:
        launch(store, plan, starter, watcher, workers=workers, options=options)

    return train


def _options(options: WorkerOptions | TrainOptions | None) -> WorkerOptions:
    if isinstance(options, TrainOptions):
        return WorkerOptions(train=options)
    return options or WorkerOptions()


class _Watcher:
    """Shows a bar over runs; one that is not shown only listens."""

    def __init__(self, hearer: Hearer, runs: int, shown: bool) -> None:
        self._hearer, self._shown = hearer, shown
        self.look: Callable[[], None] = _nothing
        """Looks at the mirrors beside the sweep."""
        self._looked = 0.0
        self._bar = Progress(
            TextColumn("{task.completed}/{task.total} runs"),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            disable=not shown,
        )
        self._task = self._bar.add_task("", total=runs)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Shows the bar while the block runs."""
        with self._bar:
            yield

    def glance(self) -> None:
        """Looks at the store, unless that was a moment ago."""
        if time.monotonic() > self._looked + LOOK_S:
            self.update()

    def update(self) -> None:
        """Looks at the store."""
        self._looked = time.monotonic()
        self.look()
        for told in self._hearer.poll():
            if told["event"] == "run_finished":
                loss = told["loss"]
                text = "diverged" if loss is None else f"loss {loss:.4g}"
                self._bar.update(self._task, description=text)
            elif told["event"] == "run_failed":
                self._show(f"failed: {told['error']}")
        self._bar.update(self._task, completed=self._hearer.finished)

    def print(self, line: str) -> None:
        """Tells a line about the workers."""
        self._hearer.tell(event("worker_ended", text=line))
        self._show(line)

    def _show(self, line: str) -> None:
        if self._shown:
            self._bar.console.print(line, highlight=False, markup=False)

    def stopping(self) -> bool:
        """False: an interrupt is an exception here."""
        return False


def _train_here(
    store: Store, plan: Plan, watcher: _Watcher, options: WorkerOptions
) -> None:
    """Works through the sweep in this process; an interrupt waits for a checkpoint."""
    from harness.training import device
    from harness.workers.worker import Listener, work

    refuse_fork()
    if options.train.devices > 1:
        device.simulate(options.train.devices)
    interrupts = _Interrupts()
    listener = Listener(
        progress=lambda _: watcher.glance(),
        finished=lambda _run, _row: watcher.update(),
        failed=lambda trunk, error: watcher.print(f"{trunk.trunk_id}: {error}"),
        warning=watcher.print,
        stopping=lambda: interrupts.requested,
    )
    with watcher.running(), interrupts:
        try:
            work(store, plan, listener, options)
        except Interrupted:
            raise KeyboardInterrupt from None
        finally:
            watcher.update()


class _Interrupts:
    """Interrupts of the main thread, noted while a block runs instead of raised."""

    requested = False

    def __enter__(self) -> None:
        self._before = None
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, *_: object) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


def _script_name() -> str:
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    return Path(main).stem if main else "sweep"


def _silent(_: str) -> None:
    """Says nothing."""


def _nothing() -> None:
    """Does nothing."""


def _warn_of_held_gpu() -> None:
    """Prints what to do where this process keeps the memory that workers need."""
    if "jax" not in sys.modules:
        return
    from jax._src import xla_bridge

    preallocates = os.environ.get("XLA_PYTHON_CLIENT_PREALLOCATE", "true")
    if {"cuda", "rocm"} & set(xla_bridge._backends) and preallocates == "true":
        print(
            "warning: this process has taken most of the GPU's memory for its own jax; "
            "set XLA_PYTHON_CLIENT_PREALLOCATE=false before it starts, or workers may "
            "find none"
        )
