"""Commands that fit one law: fit, predict, laws.

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
    from analysis.uncertainty.intervals import Band


app = command_group()

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
    by: Annotated[
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
    roles = {"n": n, "d": d, "c": c, "loss": loss, "x": x, "weight": weights}
    labels = {"group": group, "run": run}
    rows = analysis.read_table(
        table,
        where=where,
        duplicates=duplicates,
        **{**roles, **labels, **roles_of(column or [])},
    )
    rows = rows if every_rate else analysis.at_minima(rows)
    options = analysis.FitOptions(
        objective=analysis.Objective(loss=objective, delta=delta, space=space),
        search=analysis.Search(starts=starts, seed=seed),
    )
    _check_folder(json_file)
    if bootstrap:
        advice = analysis.advise(rows)
        kind = by or ("group" if group else "run" if run else advice.kind)
        draws = analysis.Bootstrap(
            kind=kind, replicas=bootstrap, level=level, seed=seed
        )
        result = analysis.fit_with_intervals(rows, law, draws, options)
    else:
        advice = None
        result = analysis.fit_law(rows, law, options)
    if json_file:
        result.save(json_file)
    typer.echo(str(result))
    if any(map(math.isnan, result.derived.values())):
        typer.echo(NO_OPTIMUM)
    if advice and advice.kind != kind:
        typer.echo(f"  note: advised is --by {advice.kind}: {advice.why}")
    elif advice and advice.caution and not by:
        typer.echo(f"  WARNING {advice.caution}")


@app.command()
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
    record = analysis.Fit.load(fit_file)
    values = {"n": n, "d": d, "x": x, **roles_of(column or [])}
    given = {k: _positive(k, v) for k, v in values.items() if v is not None}
    if compute is not None:
        if given:
            raise AnalysisError("give either --compute or --n and --d, not both")
        bands = analysis.optimum_at(record, _positive("compute", compute))
    else:
        _need(record, given)
        bands = {"loss": analysis.predict(record, given)}
    _print_bands(bands, as_json)
    if not as_json:
        asked = given if compute is None else {"c": float(compute)}
        for note in _extrapolations(record, asked):
            typer.echo(f"  note: {note}")


def _check_folder(file: Path | None) -> None:
    """Raises `AnalysisError` if the folder in which to write a file is missing."""
    if file and not file.parent.is_dir():
        raise AnalysisError(f"--json {file}: there is no folder {file.parent}")


def _need(fit: Fit, given: dict[str, float]) -> None:
    """Raises `AnalysisError` that names the options which a prediction still needs."""
    columns = analysis.get_law(fit.law).columns
    missing = [
        f"--{name} …" if name in ("n", "d", "x") else f"--column {name}=…"
        for name in columns
        if name not in given
    ]
    if missing:
        whole = (
            ", or --compute C for the best model" if set(columns) == {"n", "d"} else ""
        )
        raise AnalysisError(f"{fit.law} predicts from {' '.join(missing)}{whole}")


def _extrapolations(fit: Fit, asked: dict[str, float]) -> list[str]:
    """A note for each scale asked for that lies outside the fitted rows."""
    notes = []
    for name, value in asked.items():
        low, high = fit.provenance.scale_range.get(name, (value, value))
        times = max(value / high, low / value)
        if times > 1.001:
            side = "above" if value > high else "below"
            notes.append(
                f"{name} = {value:.4g} is {times:.3g} times {side} the fitted rows "
                f"({low:.3g} to {high:.3g})"
            )
    return notes


def _positive(name: str, value: str | float) -> float:
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
        known = low is not None
        interval = f"[{low:.5g}, {high:.5g}]" if known else "no bootstrap in the fit"
        typer.echo(f"{names[key]:30} {value:.5g}   {interval}")


def _known(band: Band) -> dict[str, float | None]:
    """A band as JSON values; what is not known is null."""
    return {
        k: float(v) if math.isfinite(v) else None for k, v in band._asdict().items()
    }


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
            }
            for law in analysis.all_laws()
        ]
        typer.echo(json.dumps(records, indent=1))
        return
    for law in analysis.all_laws():
        typer.echo(f"{law.name:18} {law.formula}")
        typer.echo(f"{'':18} {law.reference}; columns: {', '.join(law.columns)}")
    typer.echo(f"{'additive:n,d,…':18} L = E + sum_k A_k k^-alpha_k")
    typer.echo(f"{'':18} Hoffmann et al. 2022, eq. 10; columns: those named")
    typer.echo(f"{'FILE.py:NAME':18} a `Law` of your own (analysis.laws), in any file")
