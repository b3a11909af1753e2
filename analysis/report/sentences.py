"""What was found, in sentences and small tables: for FOUND.md and documents.

Constants and exponents have the digits that their intervals allow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import pandas as pd

from analysis.fitting.record import Fit
from analysis.laws import get_law
from analysis.report.families import family_tables
from analysis.report.findings import Findings
from analysis.report.grid import Grid, cell
from analysis.report.store import Store
from analysis.selection.extrapolation import HoldOut
from analysis.tables.columns import FAMILY, LOSS

FEW_RUNS = 30
"""Most runs that are listed one by one."""
GRID_PREFIX = "grid."
RESULTS = (LOSS, "loss_se", "best_loss", "accuracy", "train_accuracy")
"""Columns of results that are listed beside the coordinates of a run."""


def found(store: Store, findings: Findings) -> str:
    """The findings of a results folder as Markdown.

    Args:
        store: the runs and the question.
        findings: what was fitted to them.
    """
    question, _, rest = store.question.partition("\n")
    blocks = [
        f"# {store.name}: {question}" if question else f"# {store.name}",
        "Written by `harness report` from `fits.json`, with the runs it was fitted to.",
        rest.strip(),
        _section("Promises", [f"- {outcome}" for outcome in findings.promises]),
        _section("Found", [f"- {line}" for line in sentences(store, findings)]),
        *(_titled(title, grid) for title, grid in _tables(store, findings)),
        _section("To know", [f"- {line}" for line in findings.warnings]),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def sentences(store: Store, findings: Findings) -> list[str]:
    """One sentence for each thing that was found."""
    lines = [_runs(store)]
    main = findings.fits.get(store.table.columns["n"])
    if main is not None:
        lines.append(_law(main))
        lines += _optimum(findings)
    lines += [_curve(fit) for fit in findings.curves]
    lines += _exponents(findings)
    lines += _held_out(findings)
    for tuning in store.tuning:
        if tuning.rule is not None:
            whose = f"{tuning.family}: " if tuning.family else ""
            lines.append(f"{whose}{str(tuning.rule).splitlines()[0]}.")
    return lines


def with_interval(value: float, interval: Sequence[float]) -> str:
    """A number and its interval, to the second digit of the interval's width."""
    low, high = interval
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"{value:.3g}"
    width = high - low
    if not width > 0:
        return f"{value:.4g} [{low:.4g}, {high:.4g}]"
    digits = 1 - math.floor(math.log10(width))
    if digits < -3 or digits > 8:
        return f"{value:.3g} [{low:.3g}, {high:.3g}]"
    digits = max(0, digits)
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def markdown(grid: Grid) -> str:
    """A table in Markdown."""
    head = [cell(value) for value in grid.head]
    rows = [[cell(value) for value in row] for row in grid.rows]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_escaped(line))} |" for line in lines)


def _runs(store: Store) -> str:
    table = store.table
    spans = ", ".join(
        f"{name} from {table.values(role).min():.3g} to {table.values(role).max():.3g}"
        for role, name in (("n", "N"), ("d", "D"), ("c", "C"))
    )
    count = f"{len(store.runs)} finished runs"
    if len(table) != len(store.runs):
        count += f", {len(table)} rows of them in the fits"
    return f"{count}: {spans}."


def _law(fit: Fit) -> str:
    law = get_law(fit.law)
    values = ", ".join(_value(fit, name) for name in fit.constants)
    return (
        f"{law.formula}, with N as {fit.provenance.convention}: {values}; rms residual "
        f"{100 * fit.diagnostics.rms_residual:.2g} % over {fit.diagnostics.rows} rows."
    )


def _curve(fit: Fit) -> str:
    values = ", ".join(_value(fit, name) for name in fit.constants)
    return f"Along the frontier of compute {get_law(fit.law).formula}: {values}."


def _value(fit: Fit, name: str) -> str:
    return f"{name} {with_interval(fit.constants[name], fit.intervals[name])}"


def _optimum(findings: Findings) -> Iterator[str]:
    if (best := findings.optimal) is None:
        return
    at = -2  # the last one lies beyond the largest
    n, d, loss = (
        f"{v:.3g} [{low:.3g}, {high:.3g}]"
        for v, low, high in (best.bands[k][at] for k in ("n", "d", "loss"))
    )
    yield (
        f"At the largest budget, {best.c[at]:.3g} FLOPs, the law's best model has "
        f"{n} parameters, {d} tokens and a loss of {loss} nats."
    )


def _exponents(findings: Findings) -> Iterator[str]:
    """The exponents of N*, one sentence for each estimator."""
    by_approach: dict[str, list[str]] = {}
    for one in findings.exponents:
        if one.known:
            shown = with_interval(one.value, one.interval)
            by_approach.setdefault(one.approach, []).append(
                f"{shown} with {one.convention}" if one.convention else shown
            )
    for approach, values in by_approach.items():
        yield f"Exponent of N* against C, approach {approach}: {', '.join(values)}."


def _held_out(findings: Findings) -> Iterator[str]:
    if not findings.held_out:
        return
    shown = ", ".join(
        f"{law} by {_range([100 * h.rms_log_error for h in errors])} %"
        for law, errors in findings.held_out.items()
    )
    cutoffs = next(iter(findings.held_out.values()))
    yield (
        f"Fitted below {_budgets(cutoffs)} FLOPs, the laws miss the runs above (rms): "
        f"{shown}."
    )


def _budgets(errors: Sequence[HoldOut]) -> str:
    return " or ".join(f"{h.cutoff:.3g}" for h in errors)


def _range(values: Iterable[float]) -> str:
    known = sorted(v for v in values if math.isfinite(v))
    if not known:
        return "–"
    low, high = f"{known[0]:.2g}", f"{known[-1]:.2g}"
    return low if low == high else f"{low} to {high}"


def _tables(store: Store, findings: Findings) -> Iterator[tuple[str, Grid]]:
    yield from family_tables(findings.families, findings.equal_compute)
    if len(store.runs) <= FEW_RUNS:
        yield "Runs", _each_run(store.runs)


def _each_run(runs: pd.DataFrame) -> Grid:
    """Where each run lies in its sweep, and what came out."""
    coords = [
        c
        for c in runs.columns
        if c.startswith(GRID_PREFIX) and runs[c].nunique(dropna=False) > 1
    ]
    columns = [
        *([FAMILY] if FAMILY in runs and runs[FAMILY].nunique() > 1 else []),
        *coords,
        *(c for c in RESULTS if c in runs and runs[c].notna().any()),
    ]
    rows = runs.sort_values([*coords, "run_id"])[columns]
    head = [c.removeprefix(GRID_PREFIX) for c in columns]
    return Grid(head, [tuple(_short(v) for v in row) for row in rows.to_numpy()])


def _short(value: object) -> object:
    if value is None or value is pd.NA:
        return None
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.4g}")
    return value


def _section(title: str, lines: Sequence[str]) -> str:
    return "\n".join([f"## {title}", "", *lines]) if lines else ""


def _titled(title: str, grid: Grid) -> str:
    return f"## {title}\n\n{markdown(grid)}"


def _escaped(cells: Sequence[str]) -> list[str]:
    return [text.replace("|", "\\|") for text in cells]
