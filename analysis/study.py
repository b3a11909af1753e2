"""Everything that a report says about one store, computed before it is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from analysis.approaches import IsoFlop, isoflop
from analysis.errors import AnalysisError
from analysis.records import Fit
from analysis.resampling import BY_ROW, Bootstrap
from analysis.rollout import HeldOut, roll_out
from analysis.table import CONVENTIONS, Table, read_metrics, read_runs, read_table
from analysis.uncertainty import fit_with_intervals

BUDGET_COLUMN = "grid.compute"
VAGUE = 0.3  # width of the interval of an exponent beyond which it says little
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """The findings about one store.

    Attributes:
        name: of the store's folder.
        doc: the sweep's question, "" when none is recorded.
        runs: all finished runs, diverged ones included.
        table: the rows that fits use.
        metrics: long rows of the held-out loss, or None when there are none.
        fits: convention -> Chinchilla fit; empty when the rows do not allow one.
        curves: power laws of the frontier in c.
        frontier: the rows that `curves` are fitted to.
        held_out: prediction errors beyond compute cutoffs.
        isoflop: parabolas and their minima, or None.
        warnings: one sentence each.
    """

    name: str
    doc: str
    runs: pd.DataFrame
    table: Table
    metrics: pd.DataFrame | None
    fits: dict[str, Fit]
    curves: tuple[Fit, ...]
    frontier: Table
    held_out: tuple[HeldOut, ...]
    isoflop: IsoFlop | None
    warnings: tuple[str, ...]

    @property
    def main_fit(self) -> Fit | None:
        """The fit under the default convention."""
        return self.fits.get(self.table.columns["n"])

    @property
    def all_fits(self) -> tuple[Fit, ...]:
        """Every fit, the default convention first."""
        return (*self.fits.values(), *self.curves)


def study(
    store: str | Path, *, doc: str | None = None, bootstrap: Bootstrap = BY_ROW
) -> Study:
    """Read a store and fit everything that its rows allow.

    What the rows do not allow becomes a warning that says why, never a crash.

    Raises:
        AnalysisError: the folder holds no finished run.
    """
    path = Path(store)
    table = read_table(path, duplicates="keep")
    warnings = [str(x) for x in table.left_out]
    fits = _fits(table, bootstrap, warnings)
    front = frontier(table)
    curves = _curves(front, bootstrap, warnings)
    held = _try(lambda: roll_out(table), "held-out error", warnings) if fits else None
    iso = _try(lambda: _isoflop(table), "isoFLOP curves", warnings)
    warnings += [f"isoFLOP: {x}" for x in (iso.notes if iso else ())]
    warnings += convention_warnings(fits) + vague_warnings(fits)
    metrics = _try(lambda: read_metrics(path, "loss", "eval"), "curves", warnings)
    return Study(
        name=path.resolve().name,
        doc=read_doc(path) if doc is None else doc,
        runs=read_runs(path),
        table=table,
        metrics=metrics,
        fits=fits,
        curves=curves,
        frontier=front,
        held_out=held or (),
        isoflop=iso,
        warnings=tuple(dict.fromkeys(warnings)),
    )


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


def frontier(table: Table) -> Table:
    """The runs that no run of equal or lower compute beats."""
    c, loss = table.values("c"), table.values("loss")
    order = np.lexsort((loss, c))
    best = np.minimum.accumulate(loss[order])
    keep = np.zeros(len(table), bool)
    first = np.concatenate([[True], best[1:] < best[:-1]])
    keep[order] = first
    return table.keep(keep, "a run of equal or lower compute has a lower loss")


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
    nominal = BUDGET_COLUMN in table.frame.columns
    nominal = nominal and bool(table.frame[BUDGET_COLUMN].notna().all())
    return isoflop(table, budget=BUDGET_COLUMN if nominal else None)


def convention_warnings(fits: dict[str, Fit]) -> list[str]:
    """Say where the exponent a = β/(α+β) depends on how parameters are counted.

    Two conventions differ when each value lies outside the other's interval.
    """
    found = []
    names = list(fits)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            a, b = fits[one].derived["a"], fits[other].derived["a"]
            ia, ib = fits[one].intervals["a"], fits[other].intervals["a"]
            if not (ia[0] <= b <= ia[1]) and not (ib[0] <= a <= ib[1]):
                found.append(
                    f"the exponent of N* depends on the convention: {a:.3f} with "
                    f"{one}, {b:.3f} with {other}, more than their intervals"
                )
    return found


def vague_warnings(fits: dict[str, Fit]) -> list[str]:
    """Say where the intervals are too wide for a conclusion."""
    found = []
    for name, fit in fits.items():
        low, high = fit.intervals["a"]
        if high - low > VAGUE:
            found.append(
                f"with {name} the exponent of N* is known only to lie between "
                f"{low:.2f} and {high:.2f}: add runs before using it"
            )
    return found


def read_doc(store: Path) -> str:
    """The field "doc" of the newest sweep of the store; "" when there is none."""
    paths = sorted((store / "sweeps").glob("*.json"), key=lambda p: p.stat().st_mtime)
    for path in reversed(paths):
        try:
            doc = json.loads(path.read_text()).get("doc")
        except (ValueError, AttributeError):
            continue  # a damaged sweep file hides neither the others nor the fits
        if doc:
            return str(doc)
    return ""
