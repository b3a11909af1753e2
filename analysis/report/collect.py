"""Fits everything that the rows of a store allow.

Each finder returns a value and its warnings: what the rows do not allow becomes a
sentence that says why, never a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.fitting.fit import fit_parts
from analysis.fitting.record import Fit
from analysis.laws import get_law
from analysis.optimal.families import (
    POWER,
    WITH_FLOOR,
    by_family,
    equal_compute,
    families_of,
)
from analysis.optimal.frontier import frontier
from analysis.optimal.isoflop import IsoFlop, isoflop, nominal_budget
from analysis.optimal.side_by_side import Exponent, disagreements, side_by_side
from analysis.report.findings import Findings, OptimalModels
from analysis.report.promises import check_promises, promises_of
from analysis.report.store import Store
from analysis.report.warnings import convention_warnings, vague_warnings
from analysis.selection.extrapolation import HoldOut, cutoffs, extrapolate
from analysis.tables.columns import CONVENTIONS, HELD_OUT, LOSS, RUN
from analysis.tables.curves import read_metrics
from analysis.tables.table import Table
from analysis.uncertainty.intervals import fit_with_intervals
from analysis.uncertainty.predictions import optimum_at
from analysis.uncertainty.profile import Profile, profile
from analysis.uncertainty.units import Bootstrap

RIVALS = ("chinchilla", "tied", "kaplan")
"""The laws whose predictions are compared."""
BEYOND = 10
"""The multiple of the largest budget trained for which the best model is named."""
NAMED = 5
"""Most runs that a warning names."""
T = TypeVar("T")
Warnings = tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """The tables and curves that figures show beside the findings.

    Attributes:
        metrics: long rows of the held-out loss, or None when there are none.
        profiles: profiles of the constants of the main fit.
        isoflop: parabolas and their minima, or None.
    """

    metrics: pd.DataFrame | None = None
    profiles: tuple[Profile, ...] = ()
    isoflop: IsoFlop | None = None


def collect(store: Store, bootstrap: Bootstrap) -> tuple[Findings, Drawn]:
    """The findings of a store, and what its figures need beside them.

    Args:
        store: the rows.
        bootstrap: of the intervals.
    """
    metrics, unreadable = _metrics(store)
    promises = check_promises(store, promises_of(store.path))
    if len(families_of(store.table)) <= 1:
        findings, drawn = _of_one_family(store, metrics, unreadable, bootstrap)
        return replace(findings, promises=promises), drawn
    curves = by_family(store.table, bootstrap)
    shared = (
        equal_compute(curves, m) for m in dict.fromkeys(c.measure for c in curves)
    )
    findings = Findings(
        families=curves,
        equal_compute=tuple(one for one in shared if one is not None),
        promises=promises,
        warnings=_distinct(store.warnings, unreadable),
    )
    return findings, Drawn(metrics=metrics)


def _of_one_family(
    store: Store,
    metrics: pd.DataFrame | None,
    unreadable: Warnings,
    bootstrap: Bootstrap,
) -> tuple[Findings, Drawn]:
    """The laws in n and d of one family, and all that follows from them."""
    table = store.table
    fits, of_fits = _fits(table, bootstrap)
    curves, of_curves = _curves(frontier(table), bootstrap)
    parabolas, of_parabolas = _attempt(
        partial(_isoflop, table, bootstrap), "isoFLOP curves"
    )
    held_out, of_held_out = _held_out(table) if fits else ({}, ())
    exponents, of_exponents = _exponents(table, metrics, fits, bootstrap)
    profiles, of_profiles = _profiles(table) if fits else ((), ())
    warnings = _distinct(
        store.warnings,
        of_fits,
        of_curves,
        of_parabolas,
        of_held_out,
        tuple(f"isoFLOP: {x}" for x in (parabolas.notes if parabolas else ())),
        unreadable,
        of_exponents,
        convention_warnings(fits),
        disagreements(exponents),
        vague_warnings(fits),
        of_profiles,
    )
    findings = Findings(
        fits=fits,
        curves=curves,
        exponents=exponents,
        held_out=held_out,
        optimal=_optimal(fits.get(table.columns["n"])),
        warnings=warnings,
    )
    return findings, Drawn(metrics=metrics, profiles=profiles, isoflop=parabolas)


def _distinct(*groups: Warnings) -> Warnings:
    return tuple(dict.fromkeys(text for group in groups for text in group))


def _attempt(compute: Callable[[], T], subject: str) -> tuple[T | None, Warnings]:
    """The value, or None and a warning that says why there is none."""
    try:
        return compute(), ()
    except AnalysisError as error:
        return None, (f"no {subject}: {error}",)


def _metrics(store: Store) -> tuple[pd.DataFrame | None, Warnings]:
    """The curves of the runs that have them, and a sentence on those that have none."""
    curves, warnings = _attempt(
        partial(read_metrics, store.path, LOSS, HELD_OUT), "curves"
    )
    if curves is None:
        return None, warnings
    known = store.runs[RUN] if RUN in store.runs else pd.Series(dtype=object)
    rows = curves.rows[curves.rows[RUN].isin(known)]
    lacking = sorted(map(str, set(known) - set(curves.rows[RUN])))
    named = ", ".join(lacking[:NAMED]) + (", …" if len(lacking) > NAMED else "")
    note = f"runs of runs.parquet without curves in metrics/: {len(lacking)} ({named})"
    return (
        rows if len(rows) else None,
        (*curves.damaged, *((note,) if lacking else ())),
    )


def _fits(table: Table, bootstrap: Bootstrap) -> tuple[dict[str, Fit], Warnings]:
    """The Chinchilla fit under each convention that the rows have a column for."""
    names = dict.fromkeys([table.columns["n"], *CONVENTIONS])
    known = [name for name in names if name in table.frame.columns]
    attempts = [
        _noted(
            partial(_chinchilla, table, name, bootstrap),
            f"Chinchilla fit with n = {name}",
        )
        for name in known
    ]
    fits = {name: fit for name, (fit, _) in zip(known, attempts, strict=True) if fit}
    return fits, _warnings_of(attempts)


def _chinchilla(table: Table, convention: str, bootstrap: Bootstrap) -> Fit:
    counted = table.with_columns(n=convention)
    return fit_with_intervals(counted, "chinchilla", bootstrap)


def _optimal(fit: Fit | None) -> OptimalModels | None:
    """The best model at a tenth of the largest budget, at it, and beyond it."""
    if fit is None:
        return None
    budgets = fit.provenance.scale_range["c"][1] * np.array([0.1, 1.0, BEYOND])
    best = optimum_at(fit, budgets)
    return OptimalModels(
        c=tuple(budgets.tolist()),
        bands={
            name: tuple(zip(*(part.tolist() for part in band), strict=True))
            for name, band in best.items()
        },
    )


def _curves(front: Table, bootstrap: Bootstrap) -> tuple[tuple[Fit, ...], Warnings]:
    """The power laws of the frontier in c, whose rows are drawn one by one."""
    by_row = replace(bootstrap, kind="row")
    attempts = [
        _noted(
            partial(fit_with_intervals, front, law, by_row),
            f"{law} fit of the frontier",
        )
        for law in (POWER, WITH_FLOOR)
    ]
    return tuple(fit for fit, _ in attempts if fit), _warnings_of(attempts)


def _noted(compute: Callable[[], Fit], subject: str) -> tuple[Fit | None, Warnings]:
    """A fit, and what its certificate warns of."""
    fit, warnings = _attempt(compute, subject)
    notes = fit.diagnostics.notes if fit else ()
    return fit, (*warnings, *(f"{subject}: {note}" for note in notes))


def _warnings_of(attempts: Sequence[tuple[object, Warnings]]) -> Warnings:
    return tuple(text for _, warnings in attempts for text in warnings)


def _isoflop(table: Table, bootstrap: Bootstrap) -> IsoFlop:
    return isoflop(table, budget=nominal_budget(table), bootstrap=bootstrap)


def _held_out(table: Table) -> tuple[dict[str, tuple[HoldOut, ...]], Warnings]:
    errors, warnings = _attempt(partial(_extrapolate, table), "held-out error")
    return errors or {}, warnings


def _extrapolate(table: Table) -> dict[str, tuple[HoldOut, ...]]:
    """Errors of the main law and its rivals beyond the same cutoffs."""
    at = cutoffs(table, get_law("chinchilla"))
    return {name: extrapolate(table, name, at=at or None) for name in RIVALS}


def _exponents(
    table: Table,
    metrics: pd.DataFrame | None,
    fits: Mapping[str, Fit],
    bootstrap: Bootstrap,
) -> tuple[tuple[Exponent, ...], Warnings]:
    known = tuple(k for k in CONVENTIONS if k in table.frame.columns)
    estimate = partial(
        side_by_side,
        table,
        budget=nominal_budget(table),
        conventions=known or None,
        curves=metrics,
        fits=fits,
        bootstrap=bootstrap,
    )
    exponents, warnings = _attempt(estimate, "exponents")
    return exponents or (), warnings


def _profiles(table: Table) -> tuple[tuple[Profile, ...], Warnings]:
    """The profile of each constant of the main law."""
    parts = fit_parts(table, "chinchilla")
    attempts = [
        _attempt(partial(profile, parts.problem, parts.optimum, n), f"profile of {n}")
        for n in parts.problem.law.parameter_names
    ]
    return tuple(curve for curve, _ in attempts if curve), _warnings_of(attempts)
