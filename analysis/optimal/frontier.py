"""The frontier of a table: the runs that no cheaper run beats.

Runs that differ in their seeds alone are judged by their mean loss, and are all on the
frontier or none: of several seeds the luckiest would make it too low.
"""

from __future__ import annotations

import numpy as np

from analysis.tables.table import Table
from analysis.uncertainty.units import configurations

BUDGET_TOLERANCE = 0.1
"""Rows whose C differs by less than this share have one nominal budget."""


def frontier(table: Table) -> Table:
    """The table of the runs that none of about equal or lower compute beats.

    Budgets that differ by less than 10 % are one nominal budget.
    """
    labels = configurations(table)
    c, loss = table.values("c"), _mean_of_each(table.values("loss"), labels)
    rivals = c[None, :] <= c[:, None] * (1 + BUDGET_TOLERANCE)
    best = np.where(rivals, loss[None, :], np.inf).min(axis=1)
    return table.keep(
        loss <= best, "a run of about equal or lower compute has a lower loss"
    )


def _mean_of_each(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The mean (rows,) over the rows with the same label."""
    _, place = np.unique(labels, return_inverse=True)
    return np.asarray(
        (np.bincount(place, values) / np.bincount(place))[place], np.float64
    )
