"""The minima of tuned sweeps, over the rows that differ in learning rate alone.

Runs that are equal in everything but the learning rate are one point, and a point keeps
its minimum (`analysis.tuning.lr_curve`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.tables.columns import (
    BATCH,
    FAMILY,
    INNER_AXIS,
    LEARNING_RATE,
    RATE_COLUMNS,
    STEPS,
    group_labels,
    run_columns,
)
from analysis.tables.expression import mentions
from analysis.tables.table import Duplicates, Table, read_table
from analysis.tuning.lr_curve import LrCurve, lr_minimum

POINT_ROLES = ("n", "d", "batch", "group", "seed")
REPEATS = re.compile(r"seed|repeat|replicate|trial|run", re.IGNORECASE)
"""Names of columns that tell apart runs which differ in chance alone."""
LOSS_AT_BEST, BEST_RATE, FLAG = "loss_at_best_lr", "best_lr", "lr_flag"
"""The columns that `keep_minima` adds."""


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


def at_minima(table: Table) -> Table:
    """The table with one row at each tuned point: its minimum over the learning rates.

    A table whose sweep has no inner axis of rates is returned as it is, so that
    `at_minima(read_table(source))` reads any results folder for a fit. The other rows
    of a point are counted in `left_out`.
    """
    if INNER_AXIS not in table.frame:
        return table
    return keep_minima(*lr_curves(table))


@np.errstate(all="ignore")
def lr_curves(table: Table) -> LrCurves:
    """The points of a table with its runs at every rate, diverged ones included.

    Raises:
        AnalysisError: no column holds learning rates, nothing says which rows are
            one point, or rows of a point differ in what no option names.
    """
    table = with_rates(table)
    _refuse_mixed_points(table)
    return LrCurves(table, rate_curves(table))


def read_lr_curves(
    source: str | Path,
    *,
    where: str | None = None,
    duplicates: Duplicates = "error",
    **columns: str | None,
) -> LrCurves:
    """The points of a results folder or a file; arguments as of `read_table`.

    Raises:
        AnalysisError: as `read_table` and `lr_curves`.
    """
    return lr_curves(read_table(source, where=where, duplicates=duplicates, **columns))


def rate_curves(table: Table) -> tuple[LrCurve, ...]:
    """The points of a table, by n, d and batch, each with its minimum.

    Which rows are one point is read off what was trained (all columns of the spec but
    the rate); a table without those has one point per (n, d, batch, group, seed).

    Args:
        table: rows with roles lr and loss, see `with_rates`; those that it left out
            for want of a loss are rates at which a run diverged.

    Raises:
        AnalysisError: nothing says which rows are one point.
    """
    frames = [f for f in (table.frame, table.without_loss) if len(f)]
    every = replace(table, frame=pd.concat(frames, ignore_index=True))
    rate = every.values("lr")
    loss = np.full(len(every), np.nan)
    loss[: len(table)] = table.values("loss")
    labels, trunks = _points(every), _points(every, without=STEPS)
    tuned = _tuned_rows(every)
    n, d, batch = (_scale(every, role) for role in ("n", "d", "batch"))
    families = every.frame.get(FAMILY)
    curves = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        lowest = lr_minimum(rate[rows], loss[rows])
        best = _best_row(rows, rate, loss, lowest.lr_best)
        first = best if best >= 0 else int(rows[0])
        curves.append(
            LrCurve(
                **asdict(lowest),
                family="" if families is None else str(families.iloc[first]),
                n=float(n[first]),
                d=float(d[first]),
                batch=float(batch[first]),
                row=best,
                trunk=int(trunks[rows[0]]),
                tuned=bool(tuned[rows].any()),
            )
        )
    return tuple(sorted(curves, key=lambda c: (c.n, c.d, c.batch)))


def keep_minima(table: Table, curves: Sequence[LrCurve]) -> Table:
    """The table with one row per tuned point: its best run, its loss at the minimum.

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
    frame = table.frame.assign(**{LOSS_AT_BEST: loss, BEST_RATE: rate, FLAG: flags})
    minima = replace(table, frame=frame).with_columns(loss=LOSS_AT_BEST, lr=BEST_RATE)
    return minima.keep(keep, "another learning rate of the same point has a lower loss")


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
                f"{table.source} has no column {LEARNING_RATE} or lr: name the one "
                "that holds the learning rates with --lr COLUMN"
            )
        table = table.with_columns(lr=known[0])
    if not table.has("batch") and BATCH in columns:
        table = table.with_columns(batch=BATCH)
    return table


def _points(table: Table, without: str = "") -> np.ndarray:
    """The label (rows,) of the point that each row belongs to.

    Args:
        table: rows that are told apart.
        without: a column of the spec that makes no difference.
    """
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
    return group_labels(keys, list(keys))


def _refuse_mixed_points(table: Table) -> None:
    """Raises `AnalysisError` where a column that is no role splits points in curves.

    Two batch sizes at each rate, say: the minimum over the rates of both is no minimum
    of either. A table that says what was trained has its points by that.
    """
    if run_columns(table.frame):
        return
    labels, rate = _points(table), table.values("lr")
    read = table.columns.values()
    for name in map(str, table.frame.columns):
        if REPEATS.search(name) or any(mentions(text, name) for text in read):
            continue
        # As text, since a column of lists has no values that could be compared.
        value = table.frame[name].astype(str).to_numpy()
        rows = pd.DataFrame({"point": labels, "rate": rate, "value": value})
        rates = rows.groupby(["point", "value"])["rate"].nunique()
        curves = rates[rates > 1].groupby("point").size()
        repeated = rows.duplicated(["point", "rate"]).any()
        if repeated and (curves > 1).any():
            values = ", ".join(pd.unique(value)[:4])
            raise AnalysisError(
                f"rows of one point differ in {name!r} ({values}), which no option "
                f"names: say --batch {name!r} if that is the batch, else --group "
                f"{name!r}; or keep one value with --where"
            )


def _tuned_rows(table: Table) -> np.ndarray:
    """Whether (rows,) the sweep says that the rate of a row is an inner axis."""
    if INNER_AXIS not in table.frame:
        return np.zeros(len(table), bool)
    return np.asarray(table.frame[INNER_AXIS].notna())


def _scale(table: Table, role: str) -> np.ndarray:
    """The values (rows,) of a role; NaN where it has no column."""
    known = table.has(role)
    return table.values(role) if known else np.full(len(table), np.nan)


def _best_row(
    rows: np.ndarray, rate: np.ndarray, loss: np.ndarray, lr_best: float
) -> int:
    """The row of the lowest loss at the best rate; -1 where every run diverged."""
    if np.isnan(lr_best):
        return -1
    at_best = rows[rate[rows] == lr_best]
    return int(at_best[np.argmin(loss[at_best])])
