"""Several families in one table: how the loss and the error of each fall with scale.

Each family has three learning curves: against parameters at its full data, against data
at its largest model, and against compute along its frontier. Data are counted once: D
is the number of different examples or tokens. Against D, only runs that saw their data
about equally often are compared; those that saw it less often were cut short.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from analysis.errors import AnalysisError
from analysis.fitting.record import Fit
from analysis.optimal.frontier import frontier
from analysis.tables.columns import ERROR, FAMILY, LOSS, UNIQUE
from analysis.tables.table import Table
from analysis.uncertainty.intervals import fit_with_intervals
from analysis.uncertainty.predictions import Band, predict
from analysis.uncertainty.units import Bootstrap, Kind, advise

POWER, WITH_FLOOR = "power", "power_constant"
"""The laws of a learning curve: b x^-c, and the same above a floor E."""
FEWEST = {POWER: 3, WITH_FLOOR: 5}
"""The different scales without which a law is not fitted: it would meet each one."""
SAME_EPOCHS = 0.9
"""The share of the most epochs from which on a run saw its data as often as any."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """The fall of one measure of one family along one scale.

    Attributes:
        family: name.
        axis: "n" parameters, "d" data, "c" compute.
        measure: "loss" (nats) or "error" (share of wrong classes).
        x, y: scale and measure of the rows.
        fits: law -> fit in x; empty when there are too few scales.
        notes: why a law is not there.
    """

    family: str
    axis: str
    measure: str
    x: np.ndarray
    y: np.ndarray
    fits: dict[str, Fit]
    notes: tuple[str, ...]

    @property
    def shown(self) -> Fit | None:
        """The fit of the richest law that the rows allow; None without one."""
        return self.fits.get(WITH_FLOOR) or self.fits.get(POWER)


@dataclass(frozen=True, kw_only=True, slots=True)
class EqualCompute:
    """The measure of each family at budgets that all of them have been trained at.

    Attributes:
        measure: "loss" (nats) or "error" (share of wrong classes).
        budgets: C in FLOPs.
        reached: family -> measure at each budget, by its law along the frontier.
    """

    measure: str
    budgets: tuple[float, ...]
    reached: dict[str, Band]


def families_of(table: Table) -> tuple[str, ...]:
    """The names of the families in the table; none where it does not say."""
    if FAMILY not in table.frame.columns:
        return ()
    return tuple(sorted(table.frame[FAMILY].astype(str).unique()))


def by_family(table: Table, bootstrap: Bootstrap) -> tuple[Curve, ...]:
    """The curves of every family: of the loss, and of the error where it is known.

    Args:
        table: rows with roles n, d, c and loss.
        bootstrap: of the intervals; which units are drawn is chosen for each curve.
    """
    return tuple(
        _curve(rows, family, axis, measure, bootstrap)
        for measure in (LOSS, ERROR)
        for axis in SELECT
        for family in families_of(table)
        if (rows := _rows_of(table, family, measure)) is not None
    )


def equal_compute(curves: tuple[Curve, ...], measure: str) -> EqualCompute | None:
    """The families at the ends and the middle of the compute that they share.

    None where fewer than two have a law, or they share no budget.
    """
    fitted = [
        (c, fit)
        for c in curves
        if (c.axis, c.measure) == ("c", measure) and (fit := c.shown)
    ]
    if len(fitted) < 2:
        return None
    low = max(c.x.min() for c, _ in fitted)
    high = min(c.x.max() for c, _ in fitted)
    if not low < high:
        return None
    budgets = np.geomspace(low, high, 3)
    return EqualCompute(
        measure=measure,
        budgets=tuple(budgets.tolist()),
        reached={c.family: predict(fit, {"x": budgets}) for c, fit in fitted},
    )


def _rows_of(table: Table, family: str, measure: str) -> Table | None:
    """A family's rows whose measure is known and above zero; None if there are none."""
    frame = table.frame
    column = table.columns["loss"] if measure == LOSS else measure
    if column not in frame.columns:
        return None
    in_family = (frame[FAMILY].astype(str) == family).to_numpy()
    known = in_family & (frame[column] > 0).to_numpy()
    if not known.any():
        return None
    rows = table.keep(in_family, f"not of the family {family}")
    rows = rows.keep(known[in_family], f"{column} is not above zero")
    return rows.with_columns(loss=column)


def _data(rows: Table) -> np.ndarray:
    """The data (rows,) that each run has seen, counted once."""
    if UNIQUE in rows.frame.columns:
        return np.asarray(rows.frame[UNIQUE], np.float64)
    return rows.values("d")


def _at_full_data(rows: Table) -> Table:
    data, seen = _data(rows), rows.values("d")
    full = (data == data.max()) & (seen == seen[data == data.max()].max())
    return rows.keep(full, "not trained on all the data for the longest time")


def _at_largest_model(rows: Table) -> Table:
    n = rows.values("n")
    rows = rows.keep(n == n.max(), "not the largest model")
    epochs = rows.values("d") / _data(rows)
    as_often = epochs >= SAME_EPOCHS * epochs.max()
    return rows.keep(as_often, "saw its data less often than other runs did")


SELECT: dict[str, Callable[[Table], Table]] = {
    "n": _at_full_data,
    "d": _at_largest_model,
    "c": frontier,
}
"""Axis -> the choice of the rows of a family that its curve is made of."""


def _curve(
    rows: Table, family: str, axis: str, measure: str, bootstrap: Bootstrap
) -> Curve:
    selected = SELECT[axis](rows)
    column = selected.columns[axis]
    if axis == "d" and UNIQUE in selected.frame.columns:
        column = UNIQUE
    selected = selected.with_columns(x=column)
    fits: dict[str, Fit] = {}
    notes: list[str] = []
    for law in FEWEST:
        try:
            fits[law] = _fit(selected, law, axis, bootstrap)
        except AnalysisError as error:
            notes.append(f"no {law} law: {error}")
    x, y = selected.values("x"), selected.values("loss")
    return Curve(
        family=family,
        axis=axis,
        measure=measure,
        x=x,
        y=y,
        fits=fits,
        notes=tuple(notes),
    )


def _fit(rows: Table, law: str, axis: str, bootstrap: Bootstrap) -> Fit:
    scales = len(np.unique(rows.values("x")))
    if scales < FEWEST[law]:
        raise AnalysisError(f"{scales} different scales; {FEWEST[law]} are needed")
    # On a frontier the best seed counts, so that no seeds are left to be drawn.
    kind: Kind = "row" if axis == "c" else advise(rows).kind
    return fit_with_intervals(rows, law, replace(bootstrap, kind=kind))
