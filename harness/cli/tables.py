"""Commands about tables of runs: report, compare, approaches, tune, suggest, reproduce.

Names of `analysis` load when they are used, and so do the modules that need jax: the
help of a command does not.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

import analysis
from analysis.tables.plain import dump_json
from analysis.tuning.summary import save_summaries
from harness.cli.groups import By, Pool, by_group, rows_of_one_kind
from harness.cli.options import (
    AsJson,
    Column,
    Duplicates,
    TableFile,
    Where,
    command_group,
)

if TYPE_CHECKING:
    from analysis.optimal.side_by_side import Exponent
    from analysis.tables.table import Table

    Exponents: TypeAlias = tuple[Exponent, ...]
Sentences: TypeAlias = tuple[str, ...]

app = command_group()

RESULTS = Path("results")


@app.command()
def report(
    store: Annotated[Path, typer.Argument(help="Results folder.")],
    bootstrap: Annotated[int, typer.Option(help="Replicas of the intervals.")] = 1000,
    figures: Annotated[
        Literal["png", "svg", "pdf"] | None,
        typer.Option(help="Also write each figure to a file: png, svg or pdf."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fit a results folder and write its report, FOUND.md and fits.json."""
    path = analysis.write_report(store, replicas=bootstrap, figures=figures)
    if as_json:
        files = {"report": str(path), "fits": str(store / "fits.json")}
        typer.echo(json.dumps(files, indent=1))
    else:
        typer.echo(f"report: {path}")


@app.command()
def check(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...", help="Experiments, results folders, or all of results/."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Measure what experiments promise on their results; exit code 1 on a miss."""
    from analysis.report.promises import check_promises, promises_of
    from analysis.report.store import read_store

    outcomes = {}
    for name, folder in _results_of(names).items():
        promises = promises_of(folder)
        store = read_store(folder)
        outcomes[name] = check_promises(store, promises)
        if not as_json:
            lines = [f"  {outcome}" for outcome in outcomes[name]]
            typer.echo("\n".join([name, *(lines or ["  no promises"])]))
    if as_json:
        plain = {name: [asdict(o) for o in of] for name, of in outcomes.items()}
        typer.echo(dump_json(plain))
    if not all(outcome.kept for of in outcomes.values() for outcome in of):
        raise typer.Exit(1)


def _results_of(names: list[str]) -> dict[str, Path]:
    """The results folders that names mean. Raises `AnalysisError` for one of none."""
    if names == ["all"]:
        found = sorted(path.parent for path in RESULTS.glob("*/sweep.json"))
        if not found:
            raise analysis.AnalysisError(f"there are no results folders in {RESULTS}/")
        return {folder.name: folder for folder in found}
    folders = {}
    for name in names:
        path = Path(name)
        places = [path, RESULTS / path.stem]
        folder = next((p for p in places if (p / "sweep.json").is_file()), None)
        if folder is None:
            raise analysis.AnalysisError(
                f"{name} has no results in {' or '.join(map(str, places))}; "
                f"`harness run {name}` makes them"
            )
        folders[name] = folder
    return folders


@app.command()
def compare(
    table: TableFile,
    law: Annotated[
        list[str] | None, typer.Option(help="A law; all suitable ones when left out.")
    ] = None,
    n: Column = None,
    d: Column = None,
    c: Column = None,
    loss: Column = None,
    x: Column = None,
    where: Where = None,
    duplicates: Duplicates = "error",
    pool: Pool = False,
    bootstrap: Annotated[int, typer.Option(help="Replicas of the intervals.")] = 200,
    as_json: AsJson = False,
) -> None:
    """Rank laws by how well they predict budgets beyond those they are fitted to."""
    from analysis.selection.compare import compare as rank

    rows = analysis.at_minima(
        analysis.read_table(
            table, where=where, duplicates=duplicates, n=n, d=d, c=c, loss=loss, x=x
        )
    )
    standings = rank(
        rows_of_one_kind(rows, pool),
        tuple(law or ()),
        bootstrap=analysis.Bootstrap(replicas=bootstrap),
    )
    if as_json:
        typer.echo(dump_json([s.to_json() for s in standings]))
        return
    cutoffs = next(s.held_out for s in standings if s.held_out)
    typer.echo(
        "fitted to the rows up to C = "
        + ", ".join(f"{h.cutoff:.3g}" for h in cutoffs)
        + f" FLOPs in turn, judged on those above; {len(rows)} rows"
    )
    for s in standings:
        error = f"{100 * s.error:.3g} %" if math.isfinite(s.error) else "none"
        typer.echo(f"{s.law:18} rms error of ln loss {error}   {s.why_not}")


@app.command()
def speedup(
    table: TableFile,
    by: Annotated[str, typer.Option(help="The column that names the recipes.")],
    reference: Annotated[
        str | None, typer.Option(help="The recipe that others are compared with.")
    ] = None,
    n: Column = None,
    d: Column = None,
    c: Column = None,
    loss: Column = None,
    where: Where = None,
    duplicates: Duplicates = "error",
    bootstrap: Annotated[int, typer.Option(help="Replicas of the intervals.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """How much compute one recipe saves against another, at the same loss."""
    from analysis.optimal.speedup import speedup as compare_recipes

    rows = analysis.at_minima(
        analysis.read_table(
            table, where=where, duplicates=duplicates, n=n, d=d, c=c, loss=loss
        )
    )
    found = compare_recipes(rows, by, reference, analysis.Bootstrap(replicas=bootstrap))
    every = (*found.pooled, *found.at_budgets)
    if as_json:
        records = [asdict(m) | {"shown": m.shown} for m in every]
        typer.echo(dump_json({"reference": found.reference, "multipliers": records}))
        return
    typer.echo(f"compute that {found.reference} needs for the same loss, as a multiple")
    for m in every:
        at = "all budgets" if m.compute is None else f"C = {m.compute:.3g}"
        value, low, high = (float(v) for v in m.band)
        verdict = "" if m.shown else "not shown: the interval holds 1"
        line = f"{m.label:20} {at:14} {value:6.3g} [{low:.3g}, {high:.3g}]"
        typer.echo(f"{line:66} {verdict}".rstrip())
    for note in found.notes:
        typer.echo(f"WARNING {note}")


@app.command()
def approaches(
    table: TableFile,
    n: Column = None,
    d: Column = None,
    c: Column = None,
    loss: Column = None,
    budget: Annotated[
        str | None, typer.Option(help="Column of the nominal compute budget.")
    ] = None,
    convention: Annotated[
        list[str] | None, typer.Option(help="A column that counts parameters.")
    ] = None,
    where: Where = None,
    by: By = None,
    pool: Pool = False,
    duplicates: Duplicates = "error",
    bootstrap: Annotated[int, typer.Option(help="Replicas of the intervals.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """Exponent of N* against C by each estimator under each counting convention."""
    from analysis.optimal.of_source import exponents_of
    from analysis.optimal.side_by_side import disagreements

    rows = analysis.at_minima(
        analysis.read_table(
            table, where=where, duplicates=duplicates, n=n, d=d, c=c, loss=loss
        )
    )

    def exponents_in(part: Table) -> tuple[Exponents, Sentences]:
        draws = analysis.Bootstrap(kind=analysis.advise(part).kind, replicas=bootstrap)
        return exponents_of(
            table, part, draws, budget=budget, conventions=convention or ()
        )

    groups = by_group(rows, exponents_in, by, pool, quiet=as_json)
    records = []
    for name, (exponents, damaged) in groups:
        for sentence in damaged:
            typer.echo(f"WARNING {sentence}", err=True)
        notes = disagreements(exponents)
        group = {"group": name} if name else {}
        rows_of = [asdict(e) for e in exponents]
        records.append({**group, "exponents": rows_of, "notes": notes})
        if not as_json:
            _print_exponents(name, exponents, notes)
    if as_json:
        typer.echo(dump_json(records[0] if len(records) == 1 else records))


def _print_exponents(name: str, exponents: Exponents, notes: Sentences) -> None:
    if name:
        typer.echo(name)
    for e in exponents:
        low, high = e.interval
        value = f"{e.value:.3f} [{low:.3f}, {high:.3f}]" if e.known else "none"
        typer.echo(f"{e.approach:20} {e.convention:12} {value:24} {e.note}")
    for note in notes:
        typer.echo(f"WARNING {note}")


@app.command()
def tune(
    table: TableFile,
    n: Column = None,
    d: Column = None,
    loss: Column = None,
    lr: Column = None,
    batch: Column = None,
    group: Annotated[
        str | None, typer.Option(help="A column that tells further points apart.")
    ] = None,
    where: Where = None,
    duplicates: Duplicates = "error",
    level: Annotated[float, typer.Option(help="Coverage of the intervals.")] = 0.95,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write optima and rule here.")
    ] = None,
) -> None:
    """The best learning rate of each point, and the rule of each family."""
    roles = {"n": n, "d": d, "loss": loss, "lr": lr, "batch": batch, "group": group}
    summaries = analysis.summarise_tuning(
        analysis.read_lr_curves(table, where=where, duplicates=duplicates, **roles),
        level,
    )
    if json_file:
        save_summaries(summaries, json_file)
    typer.echo("\n\n".join(map(str, summaries)))


@app.command()
def suggest(
    table: TableFile,
    budget: Annotated[float, typer.Option(help="FLOPs to spend on new runs.")],
    target: Annotated[str, typer.Option(help="loss, n_star or a.")] = "loss",
    at: Annotated[
        float | None, typer.Option(help="C of the target; 10 times the largest budget.")
    ] = None,
    law: Annotated[str, typer.Option(help="A law in n and d.")] = "chinchilla",
    runs: Annotated[int, typer.Option(help="Greatest number of new runs.")] = 40,
    n: Column = None,
    d: Column = None,
    c: Column = None,
    loss: Column = None,
    where: Where = None,
    pool: Pool = False,
    duplicates: Duplicates = "error",
    as_json: AsJson = False,
) -> None:
    """Suggest the runs that tell most of the target for the compute spent."""
    rows = analysis.at_minima(
        analysis.read_table(
            table, where=where, duplicates=duplicates, n=n, d=d, c=c, loss=loss
        )
    )
    rows = rows_of_one_kind(rows, pool)
    compute = 10 * float(rows.values("c").max()) if at is None else at
    goal = analysis.Target(kind=target, compute=compute)
    design = analysis.suggest(rows, budget=budget, target=goal, law=law, most_runs=runs)
    if as_json:
        typer.echo(dump_json(asdict(design)))
        return
    typer.echo(f"{'runs':>4} {'parameters':>12} {'tokens':>12} {'FLOPs each':>12}")
    times = Counter(design.runs)
    for run in sorted(times, key=lambda r: r.price):
        typer.echo(f"{times[run]:4} {run.n:12.4g} {run.d:12.4g} {run.price:12.4g}")
    typer.echo(
        f"spends {design.spent:.3g} FLOPs; standard error of {target} at C = "
        f"{compute:.3g}: {design.error_before:.3g} now, {design.error_after:.3g} after"
    )
    for note in design.notes:
        typer.echo(f"WARNING {note}")


@app.command()
def reproduce(
    name: Annotated[str, typer.Argument(help="A reproduction, or all.")] = "all",
    report: Annotated[
        Path | None, typer.Option(help="Write the figures into this folder.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring published numbers out again; exit code 1 when one is missed."""
    from analysis.published import all_reproductions, get_reproduction, show

    chosen = all_reproductions() if name == "all" else (get_reproduction(name),)
    attempts = []
    for reproduction in chosen:
        attempted = show.attempt(reproduction)
        attempts.append(attempted)
        if not as_json:
            typer.echo(str(attempted))
        if report is not None:
            show.write_figures(attempted, report)
    if as_json:
        typer.echo(dump_json([a.to_json() for a in attempts]))
    if any(a.missed for a in attempts):
        raise typer.Exit(1)
