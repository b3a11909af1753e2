"""Commands about sweeps: plan, run, status, families."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.errors import Interrupted

if TYPE_CHECKING:
    from harness.cli.experiment import Experiment
    from harness.plan import Plan
    from harness.store import Store

SHOWN = 40
"""Most rows of a printed table; the rest is counted in one line."""

Name = Annotated[
    str, typer.Argument(metavar="EXPERIMENT", help="A file, or a name in experiments/.")
]
Out = Annotated[
    Path | None, typer.Option(help="Results folder [default: results/EXPERIMENT].")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a field of every run: path=value."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A results folder.")]


def register(app: typer.Typer) -> None:
    """Adds this module's commands to `app`."""
    for command in (plan, run, status, families):
        app.command()(command)


def plan(
    experiment: Name, out: Out = None, set_: Set = None, as_json: Json = False
) -> None:
    """Show what would run: models, tokens, FLOPs, what is finished, the time left."""
    from harness.cli import planview
    from harness.cli.experiment import load
    from harness.plan import plan as make_plan

    found = load(experiment, set_ or [])
    made = make_plan(found.sweep.points)
    store = _existing(_folder(found, out))
    view = planview.describe(made, store)
    typer.echo(json.dumps(view, indent=1) if as_json else planview.text(view, SHOWN))


def run(
    experiment: Name,
    out: Out = None,
    set_: Set = None,
    report: Annotated[
        bool, typer.Option(help="Fit and write the report at the end.")
    ] = True,
) -> None:
    """Train what is not finished yet, then fit and write the report."""
    from harness.cli.experiment import load
    from harness.plan import plan as make_plan
    from harness.store import add_sweep, create_store

    found = load(experiment, set_ or [])
    made = make_plan(found.sweep.points)
    record = _sweep_record(found, made)
    store = create_store(_folder(found, out))
    add_sweep(store, record)
    failed = _train(store, made)
    if report:
        _report(store)
    if failed:
        typer.echo(f"{failed} runs failed; see {store.root / 'failures'}", err=True)
        raise typer.Exit(1)


def status(folder: Folder, as_json: Json = False) -> None:
    """Show how far a sweep is: runs done, diverged, failed, and still to do."""
    from harness.store import open_store

    store = open_store(folder)
    counts = _status(store)
    if as_json:
        typer.echo(json.dumps(counts, indent=1))
        return
    typer.echo(
        f"{counts['name']}: {counts['runs']} runs, {counts['done']} done, "
        f"{counts['diverged']} diverged, {counts['pending']} to do"
    )
    if counts["elsewhere"]:
        typer.echo(f"{counts['elsewhere']} more finished runs are of earlier sweeps")
    for failure in counts["failures"]:
        typer.echo(f"failed {failure['run_id']} {failure['time']}: {failure['error']}")


def families(as_json: Json = False) -> None:
    """List the model families and their fields."""
    import dataclasses

    from harness.families import FAMILIES

    rows = [
        {
            "family": name,
            "summary": family.summary,
            "fields": [f.name for f in dataclasses.fields(family)],
        }
        for name, family in FAMILIES.items()
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        typer.echo(f"{row['family']:<12} {row['summary']}")


def _train(store: Store, made: Plan) -> int:
    from harness.store import refresh_runs

    todo = made.without(store.finished())
    total = len(made.runs)
    if not todo.runs:
        # A process killed after its last record may have left the view behind.
        refresh_runs(store)
        typer.echo(f"all {total} runs are finished: nothing to train")
        return 0
    # Only now: starting jax takes longer than everything above.
    from rich.console import Console

    from harness.cli.display import Display
    from harness.cli.stopping import STOPPER
    from harness.train import Progress
    from harness.worker import Listener, work

    display = Display(Console(), todo, total)
    display.print(f"{total} runs, {total - len(todo.runs)} finished before")

    def progress(event: Progress) -> None:
        display.progress(event)
        STOPPER.check()

    listener = Listener(
        progress=progress,
        compiling=display.compiling,
        finished=display.finished,
        failed=display.failed,
    )
    try:
        with display.running(), STOPPER.at_safe_points():
            return work(store, made, listener)
    except Interrupted:
        left = len(made.without(store.finished()).runs)
        message = f"interrupted with {left} runs to do; run again to go on"
        raise Interrupted(message) from None


def _report(store: Store) -> None:
    from analysis.errors import AnalysisError
    from analysis.report import write_report

    page = store.root / "report" / "index.html"
    if page.exists() and page.stat().st_mtime >= store.runs_path.stat().st_mtime:
        typer.echo(f"report: {page} (of these runs; `harness report` makes it anew)")
        return
    typer.echo("fitting …", err=True)
    try:
        typer.echo(f"report: {write_report(store.root)}")
    # The sweep is trained and kept; that it cannot be fitted is worth one line.
    except AnalysisError as error:
        typer.echo(f"no report: {error}", err=True)


def _folder(found: Experiment, out: Path | None) -> Path:
    return Path("results") / found.name if out is None else out


def _existing(folder: Path) -> Store | None:
    from harness.store import open_store

    return open_store(folder) if (folder / "_store.json").exists() else None


def _sweep_record(found: Experiment, made: Plan) -> dict[str, Any]:
    return {
        "sweep_id": made.sweep_id,
        "name": found.name,
        "doc": found.doc,
        "points": [
            {"run_id": r.run_id, "coords": dict(r.coords), "spec": r.run.to_dict()}
            for r in made.runs
        ],
    }


def _status(store: Store) -> dict[str, Any]:
    sweeps, finished = store.sweeps(), store.finished()
    empty: dict[str, Any] = {"name": store.root.name, "points": []}
    newest = sweeps[-1] if sweeps else empty
    wanted = {point["run_id"] for point in newest["points"]}
    states = [store.record(run_id)["status"] for run_id in sorted(wanted & finished)]
    return {
        "name": newest["name"],
        "runs": len(wanted),
        "done": states.count("done"),
        "diverged": states.count("diverged"),
        "pending": len(wanted - finished),
        "elsewhere": len(finished - wanted),
        "failures": [
            {key: failure[key] for key in ("run_id", "time", "error")}
            for failure in store.failures()
            if failure["run_id"] not in finished
        ],
    }
