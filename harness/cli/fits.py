"""Commands of the analysis half: fit, predict, report, laws."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from analysis.errors import AnalysisError

if TYPE_CHECKING:
    from analysis.resampling import Kind
    from analysis.uncertainty import Band

Column = Annotated[
    str | None, typer.Option(help="Column, or expression over columns, of this role.")
]
TableFile = Annotated[
    Path, typer.Argument(help="Results folder, or CSV, JSONL or parquet file.")
]
Where = Annotated[
    str | None, typer.Option(help="Keep these rows, e.g. 'loss < 3.5 and n > 1e6'.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    commands = (fit, predict, report, laws, reproduce, compare, approaches, suggest)
    for command in commands:
        app.command()(command)


def _roles(pairs: list[str]) -> dict[str, str]:
    roles = {}
    for pair in pairs:
        role, equals, column = pair.partition("=")
        if not equals:
            raise AnalysisError(f"--column {pair!r} is not of the form ROLE=COLUMN")
        roles[role.strip()] = column.strip()
    return roles


def fit(
    table: TableFile,
    law: Annotated[str, typer.Option(help="See `harness laws`.")] = "chinchilla",
    n: Column = None,
    d: Column = None,
    c: Column = None,
    loss: Column = None,
    x: Column = None,
    column: Annotated[
        list[str] | None, typer.Option(help="Any other role: ROLE=COLUMN.")
    ] = None,
    where: Where = None,
    weights: Column = None,
    group: Annotated[
        str | None, typer.Option(help="Bootstrap whole groups: the column's values.")
    ] = None,
    run: Annotated[
        str | None, typer.Option(help="Bootstrap whole runs: the column's values.")
    ] = None,
    seeds: Annotated[
        bool, typer.Option(help="Bootstrap the seeds within each configuration.")
    ] = False,
    bootstrap: Annotated[int, typer.Option(help="Replicas; 0 for none.")] = 1000,
    level: Annotated[float, typer.Option(help="Coverage of the intervals.")] = 0.95,
    objective: Annotated[
        str, typer.Option(help="huber, squares or absolute.")
    ] = "huber",
    delta: Annotated[float, typer.Option(help="Huber threshold.")] = 1e-3,
    space: Annotated[str, typer.Option(help="log or linear residuals.")] = "log",
    starts: Annotated[int, typer.Option(help="Starting points of the search.")] = 64,
    seed: Annotated[int, typer.Option(help="Of starts and bootstrap.")] = 0,
    duplicates: Annotated[
        str, typer.Option(help="Equal rows: error, keep or drop.")
    ] = "error",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the fit record here.")
    ] = None,
) -> None:
    """Fit a law to a table of runs, with bootstrap intervals."""
    from analysis.fit import Search, fit_law
    from analysis.problem import Objective
    from analysis.resampling import Bootstrap
    from analysis.table import read_table
    from analysis.uncertainty import fit_with_intervals

    roles = {"n": n, "d": d, "c": c, "loss": loss, "x": x, "weight": weights}
    labels = {"group": group, "run": run}
    rows = read_table(
        table,
        where=where,
        duplicates=duplicates,  # type: ignore[arg-type]
        **{**roles, **labels, **_roles(column or [])},
    )
    how = Objective(loss=objective, delta=delta, space=space)  # type: ignore[arg-type]
    search = Search(starts=starts, seed=seed)
    if bootstrap:
        kind: Kind = "group" if group else "run" if run else "row"
        kind = "seed" if seeds else kind
        draws = Bootstrap(kind=kind, replicas=bootstrap, level=level, seed=seed)
        result = fit_with_intervals(rows, law, draws, objective=how, search=search)
    else:
        result = fit_law(rows, law, objective=how, search=search)
    if json_file:
        result.save(json_file)
    typer.echo(str(result))


def predict(
    fit_file: Annotated[Path, typer.Argument(help="Record of `harness fit --json`.")],
    n: Annotated[float | None, typer.Option(help="Parameters.")] = None,
    d: Annotated[float | None, typer.Option(help="Training tokens.")] = None,
    x: Annotated[float | None, typer.Option(help="Scale (one-variable laws).")] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="Any other column: NAME=VALUE.")
    ] = None,
    compute: Annotated[float | None, typer.Option(help="Training FLOPs.")] = None,
    as_json: AsJson = False,
) -> None:
    """Predict the loss of a model, or the best model for a compute budget."""
    from analysis.records import Fit
    from analysis.uncertainty import optimum_at
    from analysis.uncertainty import predict as predict_loss

    record = Fit.load(fit_file)
    values: dict[str, Any] = {"n": n, "d": d, "x": x, **_roles(column or [])}
    given = {k: _positive(k, v) for k, v in values.items() if v is not None}
    if compute is not None:
        if given:
            raise AnalysisError("give either --compute or --n and --d, not both")
        found = optimum_at(record, _positive("compute", compute))
    else:
        found = {"loss": predict_loss(record, given)}
    _print_bands(found, as_json)


def _positive(name: str, value: Any) -> float:
    try:
        number = float(value)
    except ValueError:
        raise AnalysisError(f"--{name} {value!r} is not a number") from None
    if not 0 < number < float("inf"):
        raise AnalysisError(f"--{name} {value} must be a positive number")
    return number


def _print_bands(bands: dict[str, Band], as_json: bool) -> None:
    plain = {k: _known(b) for k, b in bands.items()}
    if as_json:
        typer.echo(json.dumps(plain, indent=1, allow_nan=False))
        return
    names = {
        "n": "N* (parameters)",
        "d": "D* (tokens)",
        "d_per_n": "D*/N* (tokens per parameter)",
        "loss": "loss (nats)",
    }
    for key, band in plain.items():
        value, low, high = band.values()
        if value is None:
            raise AnalysisError("the law has no optimum at this budget")
        interval = f"[{low:.5g}, {high:.5g}]" if low else "no bootstrap in the fit"
        typer.echo(f"{names[key]:30} {value:.5g}   {interval}")


def _known(band: Band) -> dict[str, float | None]:
    """A band as JSON values; what is not known is null."""
    return {
        k: float(v) if math.isfinite(v) else None for k, v in band._asdict().items()
    }


def report(
    store: Annotated[Path, typer.Argument(help="Results folder.")],
    bootstrap: Annotated[int, typer.Option(help="Replicas of the intervals.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """Fit a results folder and write its report and fits.json."""
    from analysis.report import write_report
    from analysis.resampling import Bootstrap

    path = write_report(store, bootstrap=Bootstrap(replicas=bootstrap))
    if as_json:
        files = {"report": str(path), "fits": str(store / "fits.json")}
        typer.echo(json.dumps(files, indent=1))
    else:
        typer.echo(f"report: {path}")


def laws(as_json: AsJson = False) -> None:
    """List the laws that can be fitted."""
    from analysis.laws import all_laws

    if as_json:
        records = [
            {
                "name": law.name,
                "formula": law.formula,
                "columns": law.columns,
                "constants": law.parameter_names,
                "reference": law.reference,
            }
            for law in all_laws()
        ]
        typer.echo(json.dumps(records, indent=1))
        return
    for law in all_laws():
        typer.echo(f"{law.name:18} {law.formula}")
        typer.echo(f"{'':18} {law.reference}; columns: {', '.join(law.columns)}")


def reproduce(
    name: Annotated[str, typer.Argument(help="A reproduction, or all.")] = "all",
    report: Annotated[
        Path | None, typer.Option(help="Write the figures into this folder.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring published numbers out again; exit code 1 when one is missed."""
    from analysis.published import all_reproductions, get_reproduction
    from analysis.published.show import attempt, write_figures

    chosen = all_reproductions() if name == "all" else (get_reproduction(name),)
    found = []
    for one in chosen:
        attempted = attempt(one)
        found.append(attempted)
        if not as_json:
            typer.echo(str(attempted))
        if report is not None:
            write_figures(attempted, report)
    if as_json:
        typer.echo(json.dumps([a.to_json() for a in found], indent=1))
    if any(a.missed for a in found):
        raise typer.Exit(1)


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
    bootstrap: Annotated[int, typer.Option(help="Replicas of the intervals.")] = 200,
    as_json: AsJson = False,
) -> None:
    """Rank laws by how well they predict budgets beyond those they are fitted to."""
    from analysis.compare import compare as rank
    from analysis.resampling import Bootstrap
    from analysis.table import read_table

    rows = read_table(table, where=where, n=n, d=d, c=c, loss=loss, x=x)
    standings = rank(rows, tuple(law or ()), bootstrap=Bootstrap(replicas=bootstrap))
    if as_json:
        typer.echo(json.dumps([s.to_json() for s in standings], indent=1))
        return
    for s in standings:
        error = f"{100 * s.error:.3g} %" if math.isfinite(s.error) else "none"
        typer.echo(f"{s.law:18} rms error beyond the cutoffs {error}   {s.why_not}")


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
    bootstrap: Annotated[int, typer.Option(help="Replicas of the intervals.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """Exponent of N* against C by each estimator under each counting convention."""
    from dataclasses import asdict

    from analysis.estimators import disagreements, side_by_side
    from analysis.resampling import Bootstrap
    from analysis.table import CONVENTIONS, read_table

    rows = read_table(table, where=where, n=n, d=d, c=c, loss=loss)
    if budget is None and "grid.compute" in rows.frame.columns:
        budget = "grid.compute"
    known = tuple(k for k in CONVENTIONS if table.is_dir() and k in rows.frame.columns)
    found = side_by_side(
        rows,
        budget=budget,
        conventions=tuple(convention or ()) or known or None,
        bootstrap=Bootstrap(replicas=bootstrap),
    )
    notes = disagreements(found)
    if as_json:
        plain = [{k: _plain(v) for k, v in asdict(e).items()} for e in found]
        typer.echo(json.dumps({"exponents": plain, "notes": notes}, indent=1))
        return
    for e in found:
        low, high = e.interval
        value = f"{e.value:.3f} [{low:.3f}, {high:.3f}]" if e.found else "none"
        typer.echo(f"{e.approach:20} {e.convention:12} {value:24} {e.note}")
    for note in notes:
        typer.echo(f"WARNING {note}")


def _plain(value: Any) -> Any:
    """JSON values; numbers that are not known become null."""
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


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
    as_json: AsJson = False,
) -> None:
    """Which runs to add, to know the target best for the compute spent."""
    from dataclasses import asdict

    from analysis.design import Target
    from analysis.design import suggest as choose
    from analysis.table import read_table

    rows = read_table(table, where=where, n=n, d=d, c=c, loss=loss)
    compute = 10 * float(rows.values("c").max()) if at is None else at
    goal = Target(kind=target, compute=compute)  # type: ignore[arg-type]
    found = choose(rows, budget=budget, target=goal, law=law, most_runs=runs)
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=1))
        return
    typer.echo(f"{'parameters':>12} {'tokens':>12} {'FLOPs':>12}")
    for run in found.runs:
        typer.echo(f"{run.n:12.4g} {run.d:12.4g} {run.price:12.4g}")
    typer.echo(
        f"spends {found.spent:.3g} FLOPs; standard error of {target} at C = "
        f"{compute:.3g}: {found.error_before:.3g} now, {found.error_after:.3g} after"
    )
    for note in found.notes:
        typer.echo(f"WARNING {note}")
