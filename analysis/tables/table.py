"""The table of measurements: one tidy row per measured loss, and what was left out.

A source is the folder of a results store or a CSV, JSONL or parquet file. Each role of
a fit (n parameters, d tokens or examples, c FLOPs, loss in nats) is a column or an
expression over columns. A user's mistake raises `AnalysisError` naming column and rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.tables.columns import ANNEALED, DONE, STATUS, STORE_COLUMNS
from analysis.tables.copies import chart_copy, copies, superseded
from analysis.tables.expression import condition, evaluate, missing_column
from analysis.tables.files import is_results_folder, read_frame
from analysis.tables.numbers import NOTES

LABEL_ROLES = ("run", "group", "seed")
SCALES = ("n", "d", "c", "x", "loss", "lr", "batch")
"""Roles of quantities that are positive; of others a law says what it can take."""
OPTIONS = ("n", "d", "c", "x", "loss", "group", "run")
"""Roles that the command line has an option for."""
Duplicates = Literal["error", "keep", "drop"]
"""The treatment of rows that are equal in every column."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Excluded:
    """The rows that a fit does not use for one reason, counted."""

    reason: str
    count: int

    def __str__(self) -> str:
        return f"{self.count} row{'s' * (self.count != 1)} left out: {self.reason}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """The rows of a fit, and which columns have its roles.

    Attributes:
        frame: the rows in use, all original columns; its index counts the rows of
            the source from 0.
        columns: role -> column name or expression; roles are "n", "d", "c", "loss",
            "run", "group", "seed", "weight" and whatever else a law reads.
        source: where the rows came from.
        left_out: the rows not in `frame`, by reason.
        without_loss: the rows that were left out for want of a finite loss: a tuned
            point must know at which learning rates its runs diverged.
        notes: sentences on how the file was read.
    """

    frame: pd.DataFrame
    columns: Mapping[str, str]
    source: str
    left_out: tuple[Excluded, ...] = ()
    without_loss: pd.DataFrame = field(default_factory=pd.DataFrame)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.frame)

    def has(self, role: str) -> bool:
        """Whether the role has a column."""
        return role in self.columns

    def need(self, role: str) -> None:
        """Check that the role has a column.

        Raises:
            AnalysisError: it has none.
        """
        if role not in self.columns:
            option = f"--{role} " if role in OPTIONS else f"--column {role}="
            raise AnalysisError(
                f"no column is named for {role!r}; name one, e.g. {option}COLUMN "
                f"(columns: {', '.join(map(str, self.frame.columns))})"
            )

    def values(self, role: str) -> np.ndarray:
        """The role's numbers (float64) or labels, one per row.

        Raises:
            AnalysisError: the role has no column, or one that is no expression.
        """
        self.need(role)
        series = evaluate(self.columns[role], self.frame)
        if role in LABEL_ROLES:
            return np.asarray(series.to_numpy())
        return np.asarray(series, np.float64)

    def where(self, text: str) -> Table:
        """The table of the rows that satisfy the condition; the rest is recorded."""
        table = self
        if len(self.without_loss):
            lost = self.without_loss[condition(text, self.without_loss)]
            table = replace(self, without_loss=lost)
        return table.keep(condition(text, self.frame), f"not ({text})")

    def keep(self, mask: np.ndarray, reason: str) -> Table:
        """The table of the rows under the mask; the rest is recorded under `reason`."""
        mask = np.asarray(mask, bool)
        dropped = int((~mask).sum())
        if dropped == 0:
            return self
        return replace(
            self,
            frame=self.frame[mask],
            left_out=(*self.left_out, Excluded(reason=reason, count=dropped)),
        )

    def keep_measured(self, mask: np.ndarray, reason: str) -> Table:
        """The same as `keep` where the rows that go have no loss: they are noted."""
        lost = [f for f in (self.without_loss, self.frame[~mask]) if len(f)]
        table = self.keep(mask, reason)
        return replace(table, without_loss=pd.concat(lost)) if lost else table

    def names_of(self, rows: Sequence[int]) -> list[str]:
        """What rows are called in a sentence: by their runs, or by their numbers.

        Args:
            rows: positions in the frame.
        """
        if self.has("run"):
            runs = self.frame[self.columns["run"]]
            if runs.is_unique:
                return [f"run {runs.iloc[i]}" for i in rows]
        return [f"row {int(self.frame.index[i]) + 1}" for i in rows]

    def rows_under(self, mask: np.ndarray) -> str:
        """The rows under the mask, numbered from 1 as in the file: "rows 3, 10"."""
        return _rows(self, mask)

    def with_columns(self, **columns: str) -> Table:
        """The table with other columns for some roles, e.g. `n="n_total"`.

        Raises:
            AnalysisError: as `read_table`.
        """
        return _checked(replace(self, columns={**self.columns, **columns}))


def read_table(
    source: str | Path,
    *,
    where: str | None = None,
    duplicates: Duplicates = "error",
    **columns: str | None,
) -> Table:
    """The measured rows of a results folder or of a CSV, JSONL or parquet file.

    Of a sweep whose learning rate was tuned these are the runs at every rate;
    `analysis.at_minima` gives the minimum over the rates at each point.

    Args:
        source: folder with `runs.parquet`, or a file.
        where: condition over columns; rows that fail it are left out and counted.
        duplicates: what to do with rows equal in every column.
        **columns: role -> column or expression, e.g. `n="Model Size"`,
            `d="C / (6 * N)"`. A results folder has defaults for all of them; in a
            file n, d, c and loss default to the columns of the same name.

    Raises:
        AnalysisError: missing file or column, text in a number column, zero or
            negative scale, duplicate rows; one line with the rows and the remedy.
    """
    path, frame = Path(source), read_frame(source)
    if is_results_folder(path):
        return table_of_runs(
            frame, str(path), where=where, duplicates=duplicates, **columns
        )
    named = {k: v for k, v in columns.items() if v is not None}
    same = {k: k for k in ("n", "d", "c", "loss") if k in frame.columns}
    notes = tuple(frame.attrs.pop(NOTES, ()))
    table = Table(frame=frame, columns=same | named, source=str(path), notes=notes)
    return _prepare(table, where, duplicates)


def table_of_runs(
    runs: pd.DataFrame,
    source: str,
    *,
    where: str | None = None,
    duplicates: Duplicates = "error",
    **columns: str | None,
) -> Table:
    """The measured rows of a results folder whose `runs.parquet` is in memory.

    Args:
        runs: all its rows, diverged runs included.
        source: what a fit record calls them.
        where, duplicates, **columns: as for `read_table`.
    """
    named = {k: v for k, v in columns.items() if v is not None}
    # The columns outlive the renaming of a convention: a store has all of them.
    table = Table(frame=runs, columns={**STORE_COLUMNS, **named}, source=source)
    return _prepare(_finished(table), where, duplicates)


def table_from_frame(
    frame: pd.DataFrame,
    *,
    source: str = "frame",
    where: str | None = None,
    duplicates: Duplicates = "error",
    **columns: str | None,
) -> Table:
    """The table of rows that are already in memory, checked as by `read_table`.

    Args:
        frame: the rows.
        source: what a fit record calls them.
        where, duplicates, **columns: as for `read_table`, without defaults for columns.
    """
    named = {k: v for k, v in columns.items() if v is not None}
    table = Table(frame=frame.reset_index(drop=True), columns=named, source=source)
    return _prepare(table, where, duplicates)


def _finished(table: Table) -> Table:
    """The runs of a store that trained to the end of a decay of their rate."""
    frame = table.frame
    if STATUS in frame:
        done = (frame[STATUS] == DONE).to_numpy()
        table = table.keep_measured(done, "the run diverged (status not done)")
    if ANNEALED in table.frame:
        annealed = table.frame[ANNEALED].fillna(False).astype(bool).to_numpy()
        table = table.keep(annealed, "the schedule had not annealed at the end")
    return table


def _prepare(table: Table, where: str | None, duplicates: Duplicates) -> Table:
    if table.frame.empty and not table.left_out:
        raise AnalysisError(f"{table.source} has no rows")
    if where and len(table):
        table = table.where(where)
    if len(table) == 0:
        raise AnalysisError(
            f"no row of {table.source} is left: "
            + "; ".join(str(x) for x in table.left_out)
        )
    table = _deduplicated(table, duplicates)
    earlier = superseded(table.frame, table.columns)
    table = table.keep(~earlier, "a later row has the same run and step")
    return _checked(table)


def _deduplicated(table: Table, duplicates: Duplicates) -> Table:
    repeated = copies(table.frame)
    if duplicates == "keep" or not repeated.any():
        return table
    if duplicates == "drop":
        return table.keep(~repeated, "a copy of an earlier row")
    raise AnalysisError(
        f"{_rows(table, repeated)} of {table.source} repeat earlier rows in every "
        "column (but a count of the rows); remove them, or say --duplicates drop or "
        "--duplicates keep"
    )


def _checked(table: Table) -> Table:
    # The loss first: rows that have none are left out, whatever else they lack.
    for role in sorted(table.columns, key=lambda role: role != "loss"):
        if role not in LABEL_ROLES:
            table = _checked_role(table, role)
        elif table.columns[role] not in table.frame.columns:
            raise missing_column(table.columns[role], table.frame)
    return table


def _checked_role(table: Table, role: str) -> Table:
    """The table without the rows whose loss is not finite, its numbers checked."""
    name = table.columns[role]
    if original := chart_copy(name, table.frame):
        raise AnalysisError(
            f"column {name!r} ({role}) is a chart's copy of {original!r}, its least or "
            f"greatest value in a stretch of steps; name {original!r}"
        )
    series = evaluate(name, table.frame)
    numbers = pd.to_numeric(series, errors="coerce").astype(np.float64)
    text = (numbers.isna() & series.notna()).to_numpy()
    if text.any():
        example = series[text].iloc[0]
        raise AnalysisError(
            f"column {name!r} ({role}) has text in {_rows(table, text)}, e.g. "
            f"{example!r}; it must hold numbers: correct it, or name another column"
        )
    values = numbers.to_numpy()
    lost = ~np.isfinite(values)
    if role == "loss" and lost.any():
        table = table.keep_measured(~lost, f"{name} is not a finite number")
        values = values[~lost]
    elif lost.any():
        raise AnalysisError(
            f"column {name!r} ({role}) is empty or infinite in {_rows(table, lost)}; "
            f"fill it, or leave the rows out with --where {f'{name} > 0'!r}"
        )
    bad = values < 0 if role == "weight" else (values <= 0) & (role in SCALES)
    if bad.any():
        raise AnalysisError(
            f"column {name!r} ({role}) is zero or negative in {_rows(table, bad)}; a "
            "scaling law needs positive values: correct them, or leave them out with "
            "--where"
        )
    if len(values) == 0:
        raise AnalysisError(f"no row of {table.source} has a finite {name!r}")
    return table


def _rows(table: Table, mask: np.ndarray) -> str:
    """The rows under the mask, numbered from 1 as in the file that was read."""
    index: Sequence[int] = table.frame.index[mask].tolist()
    shown = ", ".join(str(i + 1) for i in index[:5])
    more = f" and {len(index) - 5} more" if len(index) > 5 else ""
    return f"row{'s' * (len(index) != 1)} {shown}{more}"
