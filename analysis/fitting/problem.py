"""A table, a law and an objective, made ready for the solver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from analysis.errors import AnalysisError
from analysis.laws.base import Law, get_law
from analysis.tables.table import Table

LossKind = Literal["huber", "squares", "absolute"]
Space = Literal["log", "linear"]
MOST_INSIDE = 0.9  # share of residuals within δ that is as good as least squares
COLLINEAR = 1e-6  # share of a column's log-variance that the other columns must leave


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """How residuals become one number.

    Attributes:
        loss: "huber", "squares" (least squares) or "absolute" (least absolute
            deviations).
        delta: Huber's threshold; Hoffmann et al. 2022 use 1e-3 in log space.
        space: "log" takes differences of logarithms, "linear" of losses (nats).
    """

    loss: LossKind = "huber"
    delta: float = 1e-3
    space: Space = "log"

    def __post_init__(self) -> None:
        if self.loss not in ("huber", "squares", "absolute"):
            raise AnalysisError(
                f"loss {self.loss!r} is none of huber, squares, absolute"
            )
        if self.space not in ("log", "linear"):
            raise AnalysisError(f"space {self.space!r} is neither log nor linear")
        if not self.delta > 0:
            raise AnalysisError(f"delta {self.delta} must be above 0")

    def near_squares(self, residuals: np.ndarray) -> bool:
        """Whether nearly all residuals (rows,) count by their square, or all do."""
        if self.loss != "huber":
            return self.loss == "squares"
        return bool(np.mean(np.abs(residuals) <= self.delta) >= MOST_INSIDE)


HOFFMANN = Objective()
"""Hoffmann et al. 2022: Huber, δ = 1e-3, in log space."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Arrays of one regression; `y` and the columns are (rows,) float64.

    Attributes:
        law: the functional form.
        columns: column of the law -> values.
        y: observed loss.
        weights: row weights, mean 1.
        objective: how residuals are summed.
    """

    law: Law
    columns: Mapping[str, np.ndarray]
    y: np.ndarray
    weights: np.ndarray
    objective: Objective = HOFFMANN

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.y)

    def with_weights(self, weights: np.ndarray) -> Problem:
        """The same problem with other row weights."""
        return replace(self, weights=weights)


def role_of(law: Law, column: str, table: Table) -> str:
    """The table's role that feeds a law's column: itself, or c where x has none."""
    if column == "x" and not table.has("x") and table.has("c"):
        return "c"
    return column


def complete(table: Table, law: Law) -> Table:
    """The table with the law's roles named that are called like a column of it."""
    same = {k: k for k in law.columns if k in table.frame.columns and not table.has(k)}
    return table.with_columns(**same) if same else table


def prepare(table: Table, law: Law | str, objective: Objective) -> Problem:
    """Collect the law's columns from the table and check that they can be fitted.

    Args:
        table: rows, with a role for every column of the law.
        law: a registered name or a `Law`.
        objective: how residuals are summed.

    Raises:
        AnalysisError: fewer rows than constants, or a column without variation.
    """
    law = get_law(law) if isinstance(law, str) else law
    table = complete(table, law)
    count = len(law.parameters)
    if len(table) < count:
        table.need("loss")
        left = "".join(f"; {x}" for x in table.left_out)
        raise AnalysisError(
            f"{table.source} has {len(table)} usable rows with a "
            f"{table.columns['loss']!r} for the {count} constants of {law.name} "
            f"({', '.join(law.parameter_names)}): add {count - len(table)} or more "
            f"runs, or choose a law with fewer constants{left}"
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


def collinear_columns(problem: Problem) -> str | None:
    """Say which column is a power of the others on every row, e.g. D = k N; or None."""
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
