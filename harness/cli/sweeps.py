"""Commands about sweeps: plan, run, families."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.workers import Accumulate, Devices, How, Population, Remat
from harness.errors import Interrupted, StoreError

if TYPE_CHECKING:
    from harness.cli.experiment import Experiment
    from harness.engines.local import Slot
    from harness.store import Store
    from harness.sweeps.plan import Plan

SHOWN = 40
"""Most rows of a printed table; the rest is counted in one line."""
LOOK_S = 0.5
"""Seconds between two looks at the store while workers are watched."""

Name = Annotated[
    str, typer.Argument(metavar="EXPERIMENT", help="A file, or a name in experiments/.")
]
Out = Annotated[
    str | None,
    typer.Option(
        help="Results folder, or s3://bucket/prefix [default: results/EXPERIMENT]."
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a field of every run: path=value."),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Worker processes; 0 to start them elsewhere [default: one per GPU, or "
        "per CPU core].",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Adds this module's commands to `app`."""
    for command in (plan, run, families):
        app.command()(command)


def plan(
    experiment: Name,
    out: Out = None,
    set_: Set = None,
    workers: Workers = None,
    population: Population = "auto",
    devices: Devices = 1,
    accumulate: Accumulate = 1,
    remat: Remat = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="Compile and time every program first.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what would run: models, tokens, FLOPs, what is finished, the time left."""
    from harness.cli import planview, probing
    from harness.cli.experiment import load
    from harness.sweeps.plan import plan as make_plan

    found = load(experiment, set_ or [])
    made = make_plan(found.sweep.points)
    store = _existing(_place(found, out))
    view = planview.describe(made, store)
    if probe:
        how = How(
            population=population, devices=devices, accumulate=accumulate, remat=remat
        )
        done = store.finished() if store else set()
        made.without(done).check_files()
        view["probe"] = probing.forecast(made, done, found, set_ or [], workers, how)
    typer.echo(json.dumps(view, indent=1) if as_json else planview.text(view, SHOWN))


def run(
    experiment: Name,
    out: Out = None,
    set_: Set = None,
    workers: Workers = None,
    population: Population = "auto",
    devices: Devices = 1,
    accumulate: Accumulate = 1,
    remat: Remat = False,
    report: Annotated[
        bool, typer.Option(help="Fit and write the report at the end.")
    ] = True,
) -> None:
    """Train what is not finished yet, then fit and write the report."""
    from harness.cli import planview
    from harness.cli.experiment import load
    from harness.engines.local import slots
    from harness.store import add_sweep, create_store, refresh_runs
    from harness.sweeps.plan import plan as make_plan
    from harness.sweeps.plan import sweep_record

    how = How(
        population=population, devices=devices, accumulate=accumulate, remat=remat
    )
    found = load(experiment, set_ or [])
    made, place = make_plan(found.sweep.points), _place(found, out)
    existing = _existing(place)
    left = made.without(existing.finished() if existing else ())
    left.check_files()
    for line in planview.mismatch_lines(made, existing) if existing else ():
        typer.echo(line)
    store = create_store(place)
    add_sweep(store, sweep_record(made, name=found.name, doc=found.doc))
    if left.cohorts and workers == 0:
        typer.echo(f"the sweep is written; `harness work {store.uri}` trains it")
        return
    if left.cohorts:
        trunks = sum(len(cohort.trunks) for cohort in left.cohorts)
        _train(store, made, found, slots(workers, trunks, devices), how)
    else:
        typer.echo(f"all {len(made.runs)} runs are finished: nothing to train")
    # A worker killed after its last record may have left the view behind.
    refresh_runs(store)
    if report:
        _report(store, found.name)
    if missing := len(made.without(store.finished()).runs):
        typer.echo(
            f"{missing} runs are not trained; `harness status {store.uri}` says why",
            err=True,
        )
        raise typer.Exit(1)


def families(as_json: Json = False) -> None:
    """List the model families and their fields."""
    import dataclasses

    from harness.specs.run import ModelSpec

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
    made: Plan,
    found: Experiment,
    places: Sequence[Slot],
    how: How,
) -> None:
    """Starts workers and shows what they do, until they have ended."""
    from rich.console import Console

    from harness.cli.display import Display
    from harness.cli.stopping import STOPPER
    from harness.engines.local import LocalEngine, worker_command

    command = worker_command(
        store.uri,
        *("--sweep", made.sweep_id),
        *("--experiment", str(found.path.absolute())),
        *("--peers", str(len(places))),
        *how.arguments(),
    )
    display = Display(Console(), store, made)
    with display.running(), STOPPER.at_safe_points():
        engine = LocalEngine(command, places, _logs(store))
        while engine.poll() and not STOPPER.requested:
            display.update()
            for line in engine.news():
                display.print(line)
            time.sleep(LOOK_S)
        if STOPPER.requested:
            display.print("stopping: workers checkpoint; once more to end at once")
        engine.stop()
        display.update()
    if STOPPER.requested:
        count = len(made.without(store.finished()).runs)
        raise Interrupted(f"interrupted with {count} runs to do; run again to go on")
    if engine.error:
        raise StoreError(engine.error)


def _logs(store: Store) -> Path:
    folder = store.folder or Path(tempfile.gettempdir()) / "scaling-harness"
    return folder / "work" / "logs"


def _report(store: Store, name: str) -> None:
    from analysis.errors import AnalysisError
    from analysis.report.findings import is_of_these_runs
    from analysis.report.write import write_page, write_report

    folder = store.folder or _copy(store, Path("results") / name)
    try:
        if (folder / "report").is_dir() and is_of_these_runs(folder):
            page = write_page(folder)
            typer.echo(f"report: {page} (these runs are fitted already)")
            return
        typer.echo("fitting …", err=True)
        typer.echo(f"report: {write_report(folder)}")
    # The sweep is trained and kept; that it cannot be fitted is worth one line.
    except AnalysisError as error:
        typer.echo(f"no report: {error}", err=True)


def _copy(store: Store, folder: Path) -> Path:
    """The tables of a store elsewhere, in a folder here, for fits and figures."""
    from harness.store.mirror import fetch

    typer.echo(f"copying the tables of {store.uri} to {folder} …", err=True)
    fetch(store, folder)
    return folder


def _place(found: Experiment, out: str | None) -> str:
    return str(Path("results") / found.name) if out is None else out


def _existing(where: str) -> Store | None:
    from harness.store import open_store
    from harness.store.read import MARKER, files_at

    return open_store(where) if files_at(where).exists(MARKER) else None
