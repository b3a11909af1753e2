"""Tuned sweeps: which rows differ in learning rate alone, and what is kept of them.

Runs that are equal in everything but the learning rate are one point, and a point keeps
its minimum (`analysis.tuning.lr_curve`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.tables.coordinates import run_columns
from analysis.tables.expression import condition, evaluate
from analysis.tables.files import read_frame
from analysis.tables.table import INNER_AXIS, Table, read_table
from analysis.tuning.lr_curve import LrCurve, minimum

RATE_COLUMNS = ("optim.lr", "lr", INNER_AXIS)
FAMILY = "family"
POINT_ROLES = ("n", "d", "batch", "group", "seed")
LOSS, RATE, FLAG = "loss_at_best_lr", "best_lr", "lr_flag"


class LrCurves(NamedTuple):
    """The runs at every rate, and the points that they make."""

    table: Table
    curves: tuple[LrCurve, ...]

    @property
    def tuned(self) -> tuple[LrCurve, ...]:
        """The points that the sweep calls tuned; where it calls none so, those with
        two rates or more."""
        marked = tuple(c for c in self.curves if c.tuned)
        return marked or tuple(c for c in self.curves if len(c.rates) > 1)


def read_lr_curves(
    source: str | Path,
    *,
    where: str | None = None,
    duplicates: Literal["error", "keep", "drop"] = "error",
    **columns: str | None,
) -> LrCurves:
    """Read the points of a results folder or a file; arguments as of `read_table`.

    Raises:
        AnalysisError: no column holds learning rates, and whatever `read_table` raises.
    """
    table = read_table(
        source, where=where, duplicates=duplicates, every_rate=True, **columns
    )
    return _curves(table, read_frame(source), where)


def lr_curves_of_runs(table: Table, runs: pd.DataFrame) -> LrCurves:
    """The points of a table; `runs` has its diverged runs too."""
    return _curves(table, runs, None)


def tuned_minima(table: Table, frame: pd.DataFrame, where: str | None) -> Table:
    """What `read_table` gives of a tuned sweep; `frame` has the diverged runs too."""
    return keep_minima(*_curves(table, frame, where))


def _curves(table: Table, frame: pd.DataFrame, where: str | None) -> LrCurves:
    table = with_rates(table)
    return LrCurves(table, rate_curves(table, diverged_rows(table, frame, where)))


def rate_curves(
    table: Table, diverged: pd.DataFrame | None = None
) -> tuple[LrCurve, ...]:
    """The points of a table, by n, d and batch, each with its minimum.

    Which rows are one point is read off what was trained (all columns of the spec but
    the rate); a table without those has one point per (n, d, batch, group, seed).

    Args:
        table: rows with roles lr and loss, see `with_rates`.
        diverged: further rows without a loss, with the columns of the table.

    Raises:
        AnalysisError: nothing says which rows are one point.
    """
    extra = table.frame.iloc[:0] if diverged is None else diverged
    frames = [table.frame, extra] if len(extra) else [table.frame]
    every = replace(table, frame=pd.concat(frames, ignore_index=True))
    rate = every.values("lr")
    loss = np.full(len(every), np.nan)
    loss[: len(table)] = table.values("loss")
    labels, trunks = _points(every), _points(every, without="steps")
    tuned = _marked(every)
    scales = {k: _scale(every, k) for k in ("n", "d", "batch")}
    families = every.frame.get(FAMILY)
    found = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        lowest = minimum(rate[rows], loss[rows])
        best = _best_row(rows, rate, loss, lowest["lr_best"])
        at = best if best >= 0 else rows[0]
        place: dict[str, Any] = {k: float(v[at]) for k, v in scales.items()}
        found.append(
            LrCurve(
                **lowest,
                **place,
                family="" if families is None else str(families.iloc[at]),
                row=best,
                trunk=int(trunks[rows[0]]),
                tuned=bool(tuned[rows].any()),
            )
        )
    return tuple(sorted(found, key=lambda c: (c.n, c.d, c.batch)))


def keep_minima(table: Table, curves: Sequence[LrCurve]) -> Table:
    """One row per tuned point: its best run, with the loss at the minimum.

    The loss role becomes the column `loss_at_best_lr`; the runs' own stay as they were.
    Points whose rate the sweep does not call an inner axis keep all their rows.
    """
    loss, rate = table.values("loss").copy(), table.values("lr").copy()
    flags, keep = np.full(len(table), "", object), np.ones(len(table), bool)
    labels = _points(table)
    for curve in curves:
        if curve.tuned and curve.row >= 0:
            keep[labels == labels[curve.row]] = False
            keep[curve.row] = True
            loss[curve.row], rate[curve.row] = curve.loss, curve.lr
            flags[curve.row] = curve.flag
    frame = table.frame.assign(**{LOSS: loss, RATE: rate, FLAG: flags})
    kept = replace(table, frame=frame).with_columns(loss=LOSS, lr=RATE)
    return kept.keep(keep, "another learning rate of the same point has a lower loss")


def with_rates(table: Table) -> Table:
    """The table with roles lr and, where it has such a column, batch.

    Raises:
        AnalysisError: no column holds learning rates.
    """
    columns = table.frame.columns
    if not table.has("lr"):
        known = [c for c in RATE_COLUMNS if c in columns]
        if not known:
            raise AnalysisError(
                f"{table.source} has no column optim.lr or lr: name the one that holds "
                "the learning rates with --lr COLUMN"
            )
        table = table.with_columns(lr=known[0])
    if not table.has("batch") and "batch" in columns:
        table = table.with_columns(batch="batch")
    return table


def diverged_rows(table: Table, frame: pd.DataFrame, where: str | None) -> pd.DataFrame:
    """Those of all rows as they were read that ended without a loss."""
    loss = pd.to_numeric(evaluate(table.columns["loss"], frame), errors="coerce")
    lost = ~np.isfinite(loss.to_numpy(dtype=np.float64))
    if "status" in frame:
        lost |= (frame["status"] != "done").to_numpy()
    if where:
        lost &= condition(where, frame)
    return frame[lost]


def _points(table: Table, without: str = "") -> np.ndarray:
    """Label (rows,) of the point that each row belongs to."""
    spec = [c for c in run_columns(table.frame) if c != without]
    if spec:
        keys = table.frame[[c for c in spec if c not in RATE_COLUMNS]]
    else:
        roles = [r for r in POINT_ROLES if table.has(r)]
        if not {"n", "d", "group"} & set(roles):
            raise AnalysisError(
                f"nothing in {table.source} says which rows differ in learning rate "
                "alone: name --n and --d, or --group COLUMN"
            )
        keys = pd.DataFrame({r: table.values(r) for r in roles})
        if FAMILY in table.frame:
            keys[FAMILY] = table.frame[FAMILY].to_numpy()
    return keys.groupby(list(keys), dropna=False, sort=True).ngroup().to_numpy()


def _marked(table: Table) -> np.ndarray:
    if INNER_AXIS not in table.frame:
        return np.zeros(len(table), bool)
    return table.frame[INNER_AXIS].notna().to_numpy()


def _scale(table: Table, role: str) -> np.ndarray:
    known = table.has(role)
    return table.values(role) if known else np.full(len(table), np.nan)


def _best_row(
    rows: np.ndarray, rate: np.ndarray, loss: np.ndarray, lr_best: float
) -> int:
    if np.isnan(lr_best):
        return -1
    here = rows[rate[rows] == lr_best]
    return int(here[np.argmin(loss[here])])
