"""Commands about sweeps: plan, run, families."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import analysis
from harness.cli.experiment import load
from harness.cli.options import (
    AsJson,
    ExperimentName,
    Settings,
    command_group,
    with_options,
)
from harness.cli.stopping import STOPPER
from harness.cli.views import forecasts, plans
from harness.cli.views.display import Display
from harness.cli.views.terminal import safe_lines
from harness.engines.base import engine_named
from harness.specs.run import ModelSpec
from harness.store import Store, refresh_runs
from harness.store.read import copy_tables
from harness.study import prepare
from harness.study.events import EventFile, Hearer, event
from harness.study.launch import launch, logs_of, trunk_count
from harness.sweeps.options import TrainOptions, WorkerOptions
from harness.trackers.processes import mirrors

app = command_group()

SHOWN = 40
"""Most rows of a printed table; the rest is counted in one line."""

Out = Annotated[
    str | None,
    typer.Option(
        help="Results folder, or s3://bucket/prefix [default: results/EXPERIMENT]."
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Worker processes; 0 to start them elsewhere [default: one per GPU, or "
        "per CPU core].",
    ),
]
EngineName = Annotated[str, typer.Option("--engine", help="Where workers are started.")]


@app.command()
@with_options
def plan(
    experiment: ExperimentName,
    train: TrainOptions,
    out: Out = None,
    set_: Settings = None,
    workers: Workers = None,
    engine: EngineName = "local",
    probe: Annotated[
        bool, typer.Option("--probe", help="Compile and time every program first.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what would run: models, tokens, FLOPs, what is finished, the time left."""
    loaded = load(experiment, set_ or [])
    planned = loaded.plan()
    store = prepare.existing_store(loaded.place(out))
    prepare.check_starts(planned, store)
    view = plans.describe(planned, store)
    if probe:
        finished = store.finished() if store else set()
        remaining = planned.without(finished)
        remaining.check_files()
        slots = engine_named(engine).slots(
            workers, trunk_count(remaining), train.devices
        )
        options = WorkerOptions(train=train, peers=len(slots))
        view["probe"] = forecasts.forecast(
            planned, finished, loaded, set_ or [], slots, options
        )
    typer.echo(
        json.dumps(view, indent=1) if as_json else safe_lines(plans.text(view, SHOWN))
    )


@app.command()
@with_options
def run(
    experiment: ExperimentName,
    options: WorkerOptions,
    out: Out = None,
    set_: Settings = None,
    workers: Workers = None,
    engine: EngineName = "local",
    report: Annotated[
        bool, typer.Option(help="Fit and write the report at the end.")
    ] = True,
    track: Annotated[
        list[str] | None,
        typer.Option(
            help="Mirror to a tracker: tensorboard[:FOLDER], wandb[:PROJECT] or "
            "mlflow[:URI]."
        ),
    ] = None,
    events: Annotated[
        Path | None, typer.Option(help="A file that gets all events as JSON lines.")
    ] = None,
) -> None:
    """Train what is not finished yet, then fit and write the report."""
    starter = engine_named(engine)
    loaded = load(experiment, set_ or [])
    planned, place = loaded.plan(), loaded.place(out)
    file = EventFile(events)
    store, remaining = prepare.write_sweep(
        planned,
        place,
        name=loaded.name,
        doc=loaded.doc,
        promises=loaded.sweep.promises,
        say=typer.echo,
    )
    if remaining.cohorts and workers == 0:
        typer.echo(f"the sweep is written; `harness work {store.uri}` trains it")
        return
    if remaining.cohorts:
        hearer = Hearer(store, planned, file)
        display = Display(Console(), store, planned)
        hearer.start(loaded.name, planned, remaining)
        beside = mirrors(store.uri, track or (), logs_of(store), display.print)
        try:
            with beside as look:
                watcher = _Watcher(display, hearer if events else None, look)
                launch(
                    store, planned, starter, watcher, workers=workers, options=options
                )
        finally:
            hearer.end(planned)
    else:
        typer.echo(f"all {len(planned.runs)} runs are finished: nothing to train")
    # A worker killed after its last record may have left the view behind.
    refresh_runs(store)
    if report:
        _report(store, loaded.name)
    if missing := len(planned.without(store.finished()).runs):
        typer.echo(
            f"{missing} runs are not trained; `harness status {store.uri}` says why",
            err=True,
        )
        raise typer.Exit(1)


@app.command()
def families(as_json: AsJson = False) -> None:
    """List the model families and their fields."""
    rows = [
        {
            "family": name,
            "summary": family.summary,
            "fields": [f.name for f in dataclasses.fields(family)],
        }
        for name, family in ModelSpec.known.items()
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        typer.echo(f"{row['family']:<12} {row['summary']}")


class _Watcher:
    """Shows workers on the terminal until they end, or a signal asks for a stop."""

    def __init__(
        self, display: Display, hearer: Hearer | None, look: Callable[[], None]
    ) -> None:
        self._display, self._hearer, self._look = display, hearer, look

    def update(self) -> None:
        """Looks at the store; tells who listens what is new."""
        self._display.update()
        self._look()
        if self._hearer:
            for _ in self._hearer.poll():
                pass

    def print(self, line: str) -> None:
        """Prints a line about the workers."""
        self._display.print(line)
        if self._hearer:
            self._hearer.tell(event("worker_ended", text=line))

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Shows the display, while signals wait for a safe point."""
        with self._display.running(), STOPPER.at_safe_points():
            yield

    def stopping(self) -> bool:
        """Whether a signal has come."""
        return STOPPER.requested


def _report(store: Store, name: str) -> None:
    from analysis.report import findings, write

    folder = store.folder or _copy(store, Path("results") / name)
    try:
        if (folder / "report").is_dir() and findings.is_of_these_runs(folder):
            page = write.write_page(folder)
            typer.echo(f"report: {page} (these runs are fitted already)")
            return
        typer.echo("fitting …", err=True)
        typer.echo(f"report: {write.write_report(folder)}")
    # The sweep is trained and kept; that it cannot be fitted is worth one line.
    except analysis.AnalysisError as error:
        typer.echo(f"no report: {error}", err=True)


def _copy(store: Store, folder: Path) -> Path:
    """The tables of a store elsewhere, in a folder here, for fits and figures."""
    typer.echo(f"copying the tables of {store.uri} to {folder} …", err=True)
    copy_tables(store, folder)
    return folder
