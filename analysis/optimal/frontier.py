"""The frontier of a table: the runs that no cheaper run beats."""

from __future__ import annotations

import numpy as np

from analysis.tables.table import Table

BUDGET_TOLERANCE = 0.1
"""Rows whose C differs by less than this share have one nominal budget."""


def frontier(table: Table) -> Table:
    """The table of the runs that no run of about equal or lower compute beats.

    Budgets that differ by less than 10 % are one nominal budget.
    """
    c, loss = table.values("c"), table.values("loss")
    rivals = c[None, :] <= c[:, None] * (1 + BUDGET_TOLERANCE)
    best = np.where(rivals, loss[None, :], np.inf).min(axis=1)
    return table.keep(
        loss <= best, "a run of about equal or lower compute has a lower loss"
    )
