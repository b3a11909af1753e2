"""Commands about sweeps: plan, run, families."""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import analysis
from harness.cli.experiment import Experiment, existing_store, load
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
from harness.engines.base import Engine, engine_named
from harness.errors import Interrupted, StoreError, UnreachableError
from harness.specs.run import ModelSpec
from harness.store import Store, add_sweep, create_store, refresh_runs
from harness.store.arrays import keep_arrays
from harness.store.read import copy_tables
from harness.sweeps.options import TrainOptions, WorkerOptions
from harness.sweeps.plan import Plan, sweep_record

app = command_group()

SHOWN = 40
"""Most rows of a printed table; the rest is counted in one line."""
LOOK_S = 0.5
"""Seconds between two looks at the store while workers are watched."""

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
    store = existing_store(loaded.place(out))
    loaded.check_starts(planned, store)
    view = plans.describe(planned, store)
    if probe:
        finished = store.finished() if store else set()
        remaining = planned.without(finished)
        remaining.check_files()
        slots = engine_named(engine).slots(
            workers, _trunk_count(remaining), train.devices
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
) -> None:
    """Train what is not finished yet, then fit and write the report."""
    starter = engine_named(engine)
    loaded = load(experiment, set_ or [])
    planned, place = loaded.plan(), loaded.place(out)
    existing = existing_store(place)
    loaded.check_starts(planned, existing)
    remaining = planned.without(existing.finished() if existing else ())
    remaining.check_files()
    for line in plans.mismatch_lines(planned, existing) if existing else ():
        typer.echo(line)
    store = create_store(place)
    keep_arrays(store, [run.run for run in planned.runs])
    add_sweep(store, sweep_record(planned, name=loaded.name, doc=loaded.doc))
    if remaining.cohorts and workers == 0:
        typer.echo(f"the sweep is written; `harness work {store.uri}` trains it")
        return
    if remaining.cohorts:
        _train(store, planned, loaded, starter, workers, options)
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


def _train(
    store: Store,
    plan: Plan,
    experiment: Experiment,
    engine: Engine,
    workers: int | None,
    options: WorkerOptions,
) -> None:
    """Starts workers and shows what they do, until they have ended."""
    trunks = _trunk_count(plan.without(store.finished()))
    slots = engine.slots(workers, trunks, options.train.devices)
    options = dataclasses.replace(options, peers=len(slots))
    command = [sys.executable, "-m", "harness", "work", store.uri]
    command += ["--sweep", plan.sweep_id, "--options", options.to_json()]
    if experiment.module_needed():
        command += ["--experiment", str(experiment.path.absolute())]
    display = Display(Console(), store, plan)
    with display.running(), STOPPER.at_safe_points():
        engine.start(command, slots, _logs(store))
        while engine.poll() and not STOPPER.requested:
            _look(display)
            for line in engine.news():
                display.print(line)
            time.sleep(LOOK_S)
        if STOPPER.requested:
            display.print("stopping: workers checkpoint; twice more to end at once")
        engine.stop()
        _look(display)
    if STOPPER.requested:
        count = len(plan.without(store.finished()).runs)
        raise Interrupted(f"interrupted with {count} runs to do; run again to go on")
    if engine.error:
        raise StoreError(engine.error)


def _look(display: Display) -> None:
    """Shows what is new; workers outlast a store that is out of reach, so this does."""
    try:
        display.update()
    except UnreachableError as error:
        display.print(f"warning: {error}; the workers go on")


def _trunk_count(plan: Plan) -> int:
    """The number of trunks, each of which one worker trains at a time."""
    return sum(len(cohort.trunks) for cohort in plan.cohorts)


def _logs(store: Store) -> Path:
    if store.folder:
        return store.folder / "work" / "logs"
    # A name that others can foresee could be a link of theirs.
    return Path(tempfile.mkdtemp(prefix="scaling-harness-"))


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
