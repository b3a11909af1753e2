"""The promises of a sweep, measured on its runs: each is kept or missed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from analysis.errors import AnalysisError
from analysis.fitting.fit import fit_law
from analysis.optimal.families import POWER, by_family
from analysis.optimal.isoflop import isoflop, nominal_budget
from analysis.report.store import Store
from analysis.tables.expression import condition, evaluate
from analysis.tables.plain import JsonObject, number, read_json
from analysis.tables.table import read_table
from analysis.tuning.lr_minima import at_minima
from analysis.uncertainty.intervals import NOT_KNOWN, fit_with_intervals
from analysis.uncertainty.units import Bootstrap, advise

REPLICAS = 1000
"""Draws of the intervals that promises are about."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A value with its interval, which is NaN where it has none."""

    value: float
    interval: tuple[float, float] = NOT_KNOWN

    def __str__(self) -> str:
        low, high = self.interval
        known = math.isfinite(low) and math.isfinite(high)
        return f"{self.value:.4g}" + (f" [{low:.4g}, {high:.4g}]" if known else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """A promise, and what came of it.

    Attributes:
        says: its sentence.
        bounds: name -> bound.
        measured: None where it could not be measured.
        kept: whether every bound is met.
        note: why it could not be measured; "" otherwise.
    """

    says: str
    bounds: JsonObject
    measured: Measured | None
    kept: bool
    note: str = ""

    @property
    def verdict(self) -> str:
        """Kept or missed, in a word."""
        return "kept" if self.kept else "missed"

    def __str__(self) -> str:
        found = str(self.measured) if self.measured else f"not measured: {self.note}"
        wanted = ", ".join(_bound(k, v) for k, v in self.bounds.items())
        return f"{self.verdict}: {self.says} ({found}; promised {wanted})"


def promises_of(folder: Path) -> list[JsonObject]:
    """The promises of the newest sweep of a results folder."""
    try:
        promises = read_json(folder / "sweep.json").get("promises", [])
    # A damaged file hides the promises, not the fits.
    except (OSError, ValueError, AttributeError):
        return []
    return promises if isinstance(promises, list) else []


def check_promises(store: Store, promises: Iterable[JsonObject]) -> tuple[Outcome, ...]:
    """What came of each promise, measured on the runs of a store.

    Raises:
        AnalysisError: a promise is not what `harness run` writes.
    """
    return tuple(_check(store, promise) for promise in promises)


def _check(store: Store, promise: JsonObject) -> Outcome:
    try:
        says, bounds = str(promise["says"]), dict(promise["bounds"])
        quantity = dict(promise["quantity"])
        measure = _MEASURES[quantity.pop("kind")]
        tests = [partial(_BOUNDS[name], bound) for name, bound in bounds.items()]
    except (KeyError, TypeError, ValueError) as error:
        raise AnalysisError(
            f"{store.path / 'sweep.json'} holds a promise that is none: {error}"
        ) from None
    try:
        found = measure(store, quantity)
    except AnalysisError as error:
        return Outcome(
            says=says, bounds=bounds, measured=None, kept=False, note=str(error)
        )
    kept = all(test(found) for test in tests)
    return Outcome(says=says, bounds=bounds, measured=found, kept=kept)


def _constant(store: Store, what: JsonObject) -> Measured:
    table = at_minima(
        read_table(
            store.path,
            where=what["where"] or None,
            x=what["x"] or None,
            run=what["run"] or None,
            duplicates="keep",
        )
    )
    kind = "run" if what["run"] else advise(table).kind
    bootstrap = Bootstrap(kind=kind, replicas=REPLICAS)
    fit = fit_with_intervals(table, what["law"], bootstrap)
    values = fit.constants | fit.derived
    if what["name"] not in values:
        raise AnalysisError(
            f"{what['law']} has no constant {what['name']!r}; it has "
            f"{', '.join(values)}"
        )
    name = what["name"]
    return Measured(value=values[name], interval=fit.intervals[name])


def _residual(store: Store, what: JsonObject) -> Measured:
    table = read_table(store.path, where=what["where"] or None, duplicates="keep")
    fit = fit_law(at_minima(table), what["law"])
    return Measured(value=fit.diagnostics.rms_residual)


def _minima(store: Store, what: JsonObject) -> Measured:
    if what["along"] == "rates":
        curves = [curve for one in store.tuning for curve in one.curves]
        return Measured(value=float(sum(not curve.flag for curve in curves)))
    parabolas = isoflop(store.table, budget=nominal_budget(store.table)).parabolas
    return Measured(value=float(sum(not parabola.edge for parabola in parabolas)))


def _run_value(store: Store, what: JsonObject) -> Measured:
    rows = store.runs
    if what["where"]:
        rows = rows[condition(what["where"], rows)]
    values = evaluate(what["column"], rows).dropna().to_numpy(float)
    if not len(values):
        raise AnalysisError(f"no finished run has {what['column']}")
    picks = {"least": values.min(), "mean": values.mean(), "greatest": values.max()}
    return Measured(value=float(picks[what["pick"]]))


def _family_exponents(store: Store, what: JsonObject) -> Measured:
    bootstrap = Bootstrap(kind=store.advice.kind, replicas=REPLICAS)
    curves = by_family(store.table, bootstrap)
    intervals = [c.fits[POWER].intervals["c"] for c in curves if POWER in c.fits]
    return Measured(value=float(sum(bool(np.isfinite(i).all()) for i in intervals)))


_MEASURES: dict[str, Callable[[Store, JsonObject], Measured]] = {
    "constant": _constant,
    "residual": _residual,
    "minima": _minima,
    "run value": _run_value,
    "family exponents": _family_exponents,
}


def _is_near(bound: list[float], found: Measured) -> bool:
    target, share = bound
    return abs(found.value - target) <= share * abs(target)


def _is_narrow(bound: float, found: Measured) -> bool:
    low, high = found.interval
    return low > 0 and high <= bound * low


_BOUNDS: dict[str, Callable[..., bool]] = {
    "at_least": lambda bound, found: found.value >= bound,
    "at_most": lambda bound, found: found.value <= bound,
    "contains": lambda bound, found: found.interval[0] <= bound <= found.interval[1],
    "near": _is_near,
    "widest": _is_narrow,
}


def _bound(name: str, bound: Any) -> str:
    match name:
        case "near":
            target, share = bound
            return f"{target:.4g} within {100 * share:.3g} %"
        case "contains":
            return f"an interval with {bound:.4g} in it"
        case "widest":
            return f"whose ends differ by a factor of at most {bound:g}"
    return f"{name.replace('_', ' ')} {bound:g}"


def outcome_from(record: JsonObject) -> Outcome:
    """The outcome that was written down in `fits.json`."""
    measured = record["measured"]
    return Outcome(
        says=record["says"],
        bounds=record["bounds"],
        measured=None
        if measured is None
        else Measured(
            value=number(measured["value"]),
            interval=tuple(map(number, measured["interval"])),  # type: ignore[arg-type]
        ),
        kept=record["kept"],
        note=record["note"],
    )
