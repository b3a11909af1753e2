"""A table of a page, and how its cells read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np


class Grid(NamedTuple):
    """The head and the rows of a table."""

    head: Sequence[str]
    rows: Iterable[Iterable[object]]


def cell(value: object) -> str:
    """The text of a cell: five digits of a number, a dash where it is not known."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "–"
    if isinstance(value, (float, np.floating)):
        return f"{value:.5g}"
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        whole = int(value)
        return f"{whole:,}" if abs(whole) < 10**9 else f"{whole:.4g}"
    return str(value)


def is_prose(value: object) -> bool:
    """Whether a cell is set to the left and may break over lines."""
    return isinstance(value, str) and len(value) > 36
