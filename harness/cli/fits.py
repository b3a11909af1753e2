"""Commands that fit one law: fit, laws.

Names of `analysis` load when they are used: its help needs no jax.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import analysis
from analysis.errors import AnalysisError
from harness.cli.groups import By, Pool, by_group, print_factors, together
from harness.cli.options import (
    AsJson,
    Column,
    Duplicates,
    TableFile,
    Where,
    command_group,
    roles_of,
)

if TYPE_CHECKING:
    from analysis.fitting.record import Fit
    from analysis.tables.table import Table


app = command_group()

ANY = "any"
NO_OPTIMUM = "  note: with exponents of zero there is no optimum: a and b are nan"


@app.command()
def fit(
    table: TableFile,
    law: Annotated[
        str, typer.Option(help="See `harness laws`; FILE.py:NAME for one of your own.")
    ] = "chinchilla",
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
    by: By = None,
    pool: Pool = False,
    share: Annotated[
        list[str] | None,
        typer.Option(help="Constants that all groups of --by have together."),
    ] = None,
    fix: Annotated[
        list[str] | None, typer.Option(help="Hold a constant: NAME=VALUE.")
    ] = None,
    bound: Annotated[
        list[str] | None, typer.Option(help="Bound a constant: NAME=LOW:HIGH.")
    ] = None,
    tie: Annotated[
        list[str] | None, typer.Option(help="A constant equals another: NAME=OTHER.")
    ] = None,
    positive: Annotated[
        list[str] | None, typer.Option(help="A constant is not negative.")
    ] = None,
    any_sign: Annotated[
        list[str] | None, typer.Option(help="A constant may be negative.")
    ] = None,
    units: Annotated[
        str | None,
        typer.Option(
            help="Bootstrap by row, run, trunk, group or seed; chosen from the table "
            "when left out."
        ),
    ] = None,
    bootstrap: Annotated[int, typer.Option(help="Replicas; 0 for none.")] = 1000,
    level: Annotated[float, typer.Option(help="Coverage of the intervals.")] = 0.95,
    objective: Annotated[
        str, typer.Option(help="huber, squares or absolute.")
    ] = "huber",
    delta: Annotated[float, typer.Option(help="Huber threshold.")] = 1e-3,
    space: Annotated[str, typer.Option(help="log or linear residuals.")] = "log",
    starts: Annotated[int, typer.Option(help="Starting points of the search.")] = 64,
    seed: Annotated[int, typer.Option(help="Of starts and bootstrap.")] = 0,
    duplicates: Duplicates = "error",
    every_rate: Annotated[
        bool, typer.Option(help="Of a tuned sweep, fit the runs at every rate.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the fit record here.")
    ] = None,
) -> None:
    """Fit a law to a table of runs, with bootstrap intervals."""
    from analysis.fitting.record import save_fits

    roles = {"n": n, "d": d, "c": c, "loss": loss, "x": x, "weight": weights}
    labels = {"group": group, "run": run}
    rows = analysis.read_table(
        table,
        where=where,
        duplicates=duplicates,
        **{**roles, **labels, **roles_of(column or [])},
    )
    rows = rows if every_rate else analysis.at_minima(rows)
    pairs = [*(fix or []), *(bound or []), *(tie or [])]
    pairs += [f"{name}=0:" for name in positive or []]
    pairs += [f"{name}={ANY}" for name in any_sign or []]
    law = f"{law}[{', '.join(pairs)}]" if pairs else law
    names = [k.strip() for text in share or [] for k in text.split(",")]
    if names:
        rows, law = together(rows, law, by, names)
        by, pool = None, True
    options = analysis.FitOptions(
        objective=analysis.Objective(loss=objective, delta=delta, space=space),
        search=analysis.Search(starts=starts, seed=seed),
    )
    _check_folder(json_file)
    kind = units or ("group" if group else "run" if run else None)

    def fit_one(part: Table) -> tuple[Fit, list[str]]:
        if not bootstrap:
            return analysis.fit_law(part, law, options), []
        advice = analysis.advise(part)
        draws = analysis.Bootstrap(
            kind=kind or advice.kind, replicas=bootstrap, level=level, seed=seed
        )
        result = analysis.fit_with_intervals(part, law, draws, options)
        if draws.kind != advice.kind:
            return result, [f"note: advised is --units {advice.kind}: {advice.why}"]
        caution = advice.caution if not units else ""
        return result, [f"WARNING {caution}"] if caution else []

    results = []
    for name, (result, notes) in by_group(rows, fit_one, by, pool):
        results.append(result.of_group(name))
        typer.echo(str(results[-1]))
        if any(map(math.isnan, result.derived.values())):
            typer.echo(NO_OPTIMUM)
        for note in notes:
            typer.echo(f"  {note}")
        if names:
            print_factors(result)
    if json_file:
        save_fits(results, json_file)


def _check_folder(file: Path | None) -> None:
    """Raises `AnalysisError` if the folder in which to write a file is missing."""
    if file and not file.parent.is_dir():
        raise AnalysisError(f"--json {file}: there is no folder {file.parent}")


@app.command()
def laws(as_json: AsJson = False) -> None:
    """List the laws that can be fitted."""
    if as_json:
        records = [
            {
                "name": law.name,
                "formula": law.formula,
                "columns": law.columns,
                "constants": law.parameter_names,
                "reference": law.reference,
                "unknown": law.unknown,
            }
            for law in analysis.all_laws()
        ]
        typer.echo(json.dumps(records, indent=1))
        return
    for law in analysis.all_laws():
        typer.echo(f"{law.name:18} {law.formula}")
        typer.echo(f"{'':18} {law.reference}; columns: {', '.join(law.columns)}")
        if law.unknown:
            typer.echo(f"{'':18} cannot tell {law.unknown}")
    typer.echo(f"{'mixing:r1,r2,…':18} L = c + k exp(sum_j t_j r_j)")
    typer.echo(f"{'':18} Ye et al. 2024, eq. 7; columns: shares, one left out")
    typer.echo(f"{'additive:n,d,…':18} L = E + sum_k A_k k^-alpha_k")
    typer.echo(f"{'':18} Hoffmann et al. 2022, eq. 10; columns: those named")
    typer.echo(f"{'FILE.py:NAME':18} a `Law` of your own (analysis.laws), in any file")
