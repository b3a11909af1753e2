"""A table, a law and an objective, made ready for the solver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from analysis.errors import AnalysisError
from analysis.fitting.options import HOFFMANN, Objective
from analysis.laws.arrays import FloatArray
from analysis.laws.base import Law
from analysis.laws.registry import get_law
from analysis.tables.table import Table

COLLINEAR, COLLINEAR_SUM = 1e-6, 1e-4
"""The shares of a column's variance, in logarithms and as it is, that the other columns
must leave."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """The arrays of one regression, or of several of one law (problems, rows).

    Attributes:
        law: the functional form.
        columns: column of the law -> (rows,).
        y: (rows,) observed loss.
        weights: (rows,) mean 1; rows of weight zero are left out.
        objective: what is minimised.
    """

    law: Law
    columns: Mapping[str, FloatArray]
    y: FloatArray
    weights: FloatArray
    objective: Objective = HOFFMANN

    @property
    def rows(self) -> int:
        """The number of rows."""
        return int(self.y.shape[-1])

    def with_weights(self, weights: FloatArray) -> Problem:
        """The same problem with other row weights."""
        return replace(self, weights=weights)


def role_of(law: Law, column: str, table: Table) -> str:
    """The table's role that feeds a law's column: itself, or c where x has none."""
    if column == "x" and not table.has("x") and table.has("c"):
        return "c"
    return column


def complete(table: Table, law: Law) -> Table:
    """The table with a role for each column of the law that it holds by that name."""
    same = {k: k for k in law.columns if k in table.frame.columns and not table.has(k)}
    return table.with_columns(**same) if same else table


def prepare(table: Table, law: Law | str, objective: Objective) -> Problem:
    """The regression of a table on a law, once its columns prove fit for it.

    Args:
        table: rows, with a role for every column of the law.
        law: a registered name or a `Law`.
        objective: what is minimised.

    Raises:
        AnalysisError: fewer rows than constants, or a column without variation.
    """
    law = get_law(law) if isinstance(law, str) else law
    table = complete(table, law)
    table.need("loss")
    count = len(law.parameters)
    if len(table) < count:
        excluded = "".join(f"; {x}" for x in table.left_out)
        raise AnalysisError(
            f"{table.source} has {len(table)} usable rows with a "
            f"{table.columns['loss']!r} for the {count} constants of {law.name} "
            f"({', '.join(law.parameter_names)}): add {count - len(table)} or more "
            f"runs, or choose a law with fewer constants{excluded}"
        )
    columns = {}
    for column in law.columns:
        role = role_of(law, column, table)
        values = table.values(role)
        if np.ptp(values) <= 1e-9 * abs(values[0]):
            raise AnalysisError(
                f"column {table.columns[role]!r} ({role}) is {values[0]:g} in all "
                f"{len(values)} rows, so {law.name} cannot be fitted: vary it, or "
                "choose a law without it"
            )
        columns[column] = values
    _refuse_without_value(law, columns, table)
    weights = table.values("weight") if table.has("weight") else np.ones(len(table))
    if not weights.sum() > 0:
        raise AnalysisError(f"column {table.columns['weight']!r}: all weights are zero")
    return Problem(
        law=law,
        columns=columns,
        y=table.values("loss"),
        weights=weights / weights.mean(),
        objective=objective,
    )


def _refuse_without_value(
    law: Law, columns: Mapping[str, FloatArray], table: Table
) -> None:
    """Raises `AnalysisError` for zeros and negative values that the law cannot take.

    A share of zero is a value to a law that has one there, as exp(k share) has.
    """
    low = {k: v <= 0 for k, v in columns.items()}
    if not any(bad.any() for bad in low.values()):
        return
    constants = {p.name: p.middle for p in law.parameters}
    lost = ~np.isfinite(law.losses(constants, columns))
    for column, bad in low.items():
        rows = bad & lost
        if rows.any():
            raise AnalysisError(
                f"column {table.columns[role_of(law, column, table)]!r} ({column}) is "
                f"zero or negative in {table.rows_under(rows)}, where {law.name} has "
                "no value: correct them, leave them out with --where, or use a law "
                "that has one there"
            )


def collinear_columns(problem: Problem) -> str | None:
    """The sentence that names a column as a power of the others on every row.

    None where there is no such column, as there is in D = k N.
    """
    names = [k for k, v in problem.columns.items() if np.all(v > 0) and np.ptp(v) > 0]
    logs = {k: np.log(problem.columns[k]) for k in names}
    for i, name in enumerate(names[1:], start=1):
        design = np.stack([np.ones(problem.rows), *(logs[k] for k in names[:i])], 1)
        solution, *_ = np.linalg.lstsq(design, logs[name], rcond=None)
        rest = logs[name] - design @ solution
        if np.var(rest) < COLLINEAR * np.var(logs[name]):
            power = " ".join(
                f"{k}^{p:.3g}"
                for k, p in zip(names[:i], solution[1:], strict=True)
                if abs(p) > COLLINEAR
            )
            return f"{name} is proportional to {power} on every row"
    return None


def collinear_sum(problem: Problem) -> str | None:
    """The sentence that names a column as a sum of the others on every row.

    None where there is no such column, as there is in shares that add up to one.
    """
    names = [k for k, v in problem.columns.items() if np.ptp(v) > 0]
    for i, name in enumerate(names[1:], start=1):
        others = [problem.columns[k] / np.ptp(problem.columns[k]) for k in names[:i]]
        design = np.stack([np.ones(problem.rows), *others], 1)
        column = problem.columns[name]
        solution, *_ = np.linalg.lstsq(design, column, rcond=None)
        if np.var(column - design @ solution) < COLLINEAR_SUM * np.var(column):
            return (
                f"{name} follows from {' and '.join(names[:i])} by a sum on every row"
            )
    return None
