"""Everything that a report says about one store, computed before it is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import pandas as pd

from analysis.errors import AnalysisError
from analysis.fitting.fit import fit_parts
from analysis.fitting.record import Fit
from analysis.laws import get_law
from analysis.optimal.families import by_family, families_of
from analysis.optimal.frontier import frontier
from analysis.optimal.isoflop import IsoFlop, isoflop
from analysis.optimal.side_by_side import Exponent, disagreements, side_by_side
from analysis.report.findings import Findings, load_findings
from analysis.report.remarks import convention_warnings, vague_warnings
from analysis.selection.extrapolation import HoldOut, cutoffs, extrapolate
from analysis.tables.columns import BUDGET_COLUMN, CONVENTIONS, INNER_AXIS
from analysis.tables.files import read_metrics, read_runs
from analysis.tables.table import Table, read_table
from analysis.tuning.lr_minima import at_minima, read_lr_curves
from analysis.tuning.summary import TuningSummary, summarise_tuning
from analysis.uncertainty.intervals import fit_with_intervals
from analysis.uncertainty.profile import Profile, profile
from analysis.uncertainty.units import Advice, Bootstrap, advise

RIVALS = ("chinchilla", "tied", "kaplan")  # laws whose predictions are compared
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """All that a page says about one store.

    Attributes:
        name: of the store's folder.
        doc: the sweep's question, "" when none is recorded.
        runs: all finished runs, diverged ones included.
        table: the rows that fits use: of a tuned sweep, its minima.
        rates: of a sweep whose learning rate was tuned, the minima, by family.
        advice: which bootstrap suits the rows, and why.
        findings: what was fitted.
    """

    name: str
    doc: str
    runs: pd.DataFrame
    table: Table
    rates: tuple[TuningSummary, ...]
    advice: Advice
    findings: Findings

    @property
    def main_fit(self) -> Fit | None:
        """The fit under the default convention."""
        return self.findings.fits.get(self.table.columns["n"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """What only the figures of a study show.

    Attributes:
        metrics: long rows of the held-out loss, or None when there are none.
        profiles: of the constants of the main fit.
        isoflop: parabolas and their minima, or None.
    """

    metrics: pd.DataFrame | None
    profiles: tuple[Profile, ...]
    isoflop: IsoFlop | None


def read_study(store: str | Path) -> Study:
    """The study of a store whose fits are in its `fits.json`; nothing is fitted.

    Raises:
        AnalysisError: the folder holds no finished run, or no fits of a report.
    """
    path = Path(store)
    table = at_minima(read_table(path, duplicates="keep"))
    return _study(path, table, load_findings(path))


def fit_store(
    store: str | Path, bootstrap: Bootstrap | None = None
) -> tuple[Study, Drawn]:
    """Read a store and fit everything that its rows allow.

    What the rows do not allow becomes a warning that says why, never a crash.

    Args:
        store: the results folder.
        bootstrap: of the intervals; the kind that suits the rows when None.

    Raises:
        AnalysisError: the folder holds no finished run.
    """
    path = Path(store)
    table = at_minima(read_table(path, duplicates="keep"))
    warnings = [str(x) for x in table.left_out]
    warnings += [note for study in _rates(path) for note in study.notes()]
    advice = advise(table)
    if advice.caution:
        warnings.append(advice.caution)
    chosen = bootstrap or Bootstrap(kind=advice.kind)
    families = by_family(table, chosen) if len(families_of(table)) > 1 else ()
    fits: dict[str, Fit] = {}
    curves: tuple[Fit, ...] = ()
    held: dict[str, tuple[HoldOut, ...]] | None = None
    iso: IsoFlop | None = None
    if not families:
        fits = _fits(table, chosen, warnings)
        curves = _curves(frontier(table), replace(chosen, kind="row"), warnings)
        iso = _try(lambda: _isoflop(table), "isoFLOP curves", warnings)
    if fits:
        held = _try(lambda: _held_out(table), "held-out error", warnings)
    warnings += [f"isoFLOP: {x}" for x in (iso.notes if iso else ())]
    metrics = _try(lambda: read_metrics(path, "loss", "eval"), "curves", warnings)
    warnings += metrics.damaged if metrics else ()
    rows = metrics.rows if metrics else None
    exponents: tuple[Exponent, ...] = ()
    if not families:
        tried = _try(
            lambda: _exponents(table, rows, fits, chosen), "exponents", warnings
        )
        exponents = tried or ()
    warnings += [*convention_warnings(fits), *disagreements(exponents)]
    warnings += vague_warnings(fits)
    profiles = _profiles(table, warnings) if fits else ()
    found = Findings(
        fits=fits,
        curves=curves,
        families=families,
        exponents=exponents,
        held_out=held or {},
        warnings=tuple(dict.fromkeys(warnings)),
    )
    drawn = Drawn(metrics=rows, profiles=profiles, isoflop=iso)
    return _study(path, table, found), drawn


def _study(store: Path, table: Table, findings: Findings) -> Study:
    return Study(
        name=store.resolve().name,
        doc=read_doc(store),
        runs=read_runs(store),
        table=table,
        rates=_rates(store),
        advice=advise(table),
        findings=findings,
    )


def _rates(store: Path) -> tuple[TuningSummary, ...]:
    runs = read_runs(store)
    if INNER_AXIS not in runs or runs[INNER_AXIS].isna().all():
        return ()
    return summarise_tuning(read_lr_curves(store, duplicates="keep"))


def _try(compute: Callable[[], T], what: str, warnings: list[str]) -> T | None:
    try:
        return compute()
    except AnalysisError as error:
        warnings.append(f"no {what}: {error}")
        return None


def _fits(table: Table, bootstrap: Bootstrap, warnings: list[str]) -> dict[str, Fit]:
    names = dict.fromkeys([table.columns["n"], *CONVENTIONS])
    fits: dict[str, Fit] = {}
    for name in names:
        if name not in table.frame.columns:
            continue

        def fit_one(column: str = name) -> Fit:
            chosen = table.with_columns(n=column)
            return fit_with_intervals(chosen, "chinchilla", bootstrap)

        fitted = _try(fit_one, f"Chinchilla fit with n = {name}", warnings)
        if fitted is not None:
            fits[name] = fitted
            warnings += [f"fit with n = {name}: {x}" for x in fitted.diagnostics.notes]
    return fits


def _curves(front: Table, bootstrap: Bootstrap, warnings: list[str]) -> tuple[Fit, ...]:
    fits = []
    for law in ("power", "power_constant"):

        def fit_one(name: str = law) -> Fit:
            return fit_with_intervals(front, name, bootstrap)

        fitted = _try(fit_one, f"{law} fit of the frontier", warnings)
        if fitted is not None:
            fits.append(fitted)
            notes = fitted.diagnostics.notes
            warnings += [f"{law} fit of the frontier: {x}" for x in notes]
    return tuple(fits)


def _isoflop(table: Table) -> IsoFlop:
    nominal = BUDGET_COLUMN if _has_nominal_budget(table) else None
    return isoflop(table, budget=nominal)


def _held_out(table: Table) -> dict[str, tuple[HoldOut, ...]]:
    """Errors of the main law and its rivals beyond the same cutoffs."""
    at = cutoffs(table, get_law("chinchilla"))
    return {name: extrapolate(table, name, at=at or None) for name in RIVALS}


def _profiles(table: Table, warnings: list[str]) -> tuple[Profile, ...]:
    parts = fit_parts(table, "chinchilla")
    found = []
    for name in parts.problem.law.parameter_names:

        def one(constant: str = name) -> Profile:
            return profile(parts.problem, parts.optimum, constant)

        result = _try(one, f"profile of {name}", warnings)
        if result is not None:
            found.append(result)
    return tuple(found)


def _exponents(
    table: Table,
    metrics: pd.DataFrame | None,
    fits: dict[str, Fit],
    bootstrap: Bootstrap,
) -> tuple[Exponent, ...]:
    nominal = BUDGET_COLUMN if _has_nominal_budget(table) else None
    known = tuple(k for k in CONVENTIONS if k in table.frame.columns)
    return side_by_side(
        table,
        budget=nominal,
        conventions=known or None,
        curves=metrics,
        fits=fits,
        bootstrap=bootstrap,
    )


def _has_nominal_budget(table: Table) -> bool:
    frame = table.frame
    return BUDGET_COLUMN in frame.columns and bool(frame[BUDGET_COLUMN].notna().all())


def read_doc(store: Path) -> str:
    """The question of the sweep that was run last; "" when none is recorded."""
    try:
        return str(json.loads((store / "sweep.json").read_text())["doc"])
    # A damaged file hides the question, not the fits.
    except (OSError, ValueError, KeyError, TypeError):
        return ""
