"""Rows of several kinds in one table: never fitted together unless that is asked for.

One law over three families of models has constants that belong to none of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.errors import AnalysisError
from analysis.tables.columns import FAMILY, run_columns
from analysis.tables.table import Table

KINDS = (
    FAMILY,
    "data.source",
    "data.corpus",
    "data.data",
    "data.dimension",
    "optimizer.name",
    "schedule.name",
    "loss.name",
    "precision",
)
"""The columns of a results folder whose values have laws of their own."""
MOST = 50
"""The most groups that one column may make."""


def kinds_of(table: Table) -> tuple[str, ...]:
    """The columns by which the runs of a sweep are of several kinds.

    Empty for a table that does not say what was trained: its user has to.
    """
    if not run_columns(table.frame):
        return ()
    known = (k for k in KINDS if k in table.frame)
    return tuple(k for k in known if _texts(table, k).nunique() > 1)


def groups_of(table: Table, by: Sequence[str]) -> dict[str, Table]:
    """The table of each combination of values: "family = cnn" -> its rows.

    Args:
        table: the rows.
        by: columns; none leaves the table whole, under "".

    Raises:
        AnalysisError: there is no such column, or it has very many values.
    """
    if not by:
        return {"": table}
    for name in by:
        if name not in table.frame:
            raise AnalysisError(
                f"{table.source} has no column {name!r} to group by; it has: "
                + ", ".join(map(str, table.frame.columns))
            )
    labels = pd.Series("", index=table.frame.index)
    for i, name in enumerate(by):
        labels += (", " if i else "") + f"{name} = " + _texts(table, name)
    values = sorted(labels.unique())
    if len(values) > MOST:
        raise AnalysisError(
            f"{' and '.join(by)} make {len(values)} groups of {len(table)} rows; name "
            "a column of kinds, such as a family or a recipe"
        )
    return {value: table.keep(labels == value, f"not {value}") for value in values}


def of_one_kind(table: Table) -> Table:
    """The same table. Raises `AnalysisError` that says how to choose a kind of rows."""
    kinds = kinds_of(table)
    if kinds:
        name = kinds[0]
        values = sorted(_texts(table, name).unique())
        raise AnalysisError(
            f"the rows of {table.source} are of {len(values)} kinds by {name} "
            f'({", ".join(values)}): choose one with --where "{name} == '
            f"'{values[0]}'\", or take them all with --pool"
        )
    return table


def _texts(table: Table, name: str) -> pd.Series:
    return table.frame[name].astype(str)
