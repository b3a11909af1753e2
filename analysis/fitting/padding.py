"""Tables lengthened, so that those of similar length are of one shape."""

from __future__ import annotations

import numpy as np

from analysis.laws.arrays import FloatArray

ROW_BUCKET = 32
"""Tables are lengthened to multiples of it."""


def bucket(rows: int) -> int:
    """The rows after padding: tables of similar length share one compiled program."""
    return max(2, -(-rows // ROW_BUCKET)) * ROW_BUCKET


def pad_rows(a: FloatArray, rows: int, fill: float | None = None) -> FloatArray:
    """The array lengthened to `rows`: by `fill`, or by repeating the last row.

    Args:
        a: (…, rows).
        rows: the new length, not below the old.
        fill: value of the new entries; None repeats the last one.
    """
    extra = rows - a.shape[-1]
    if extra == 0:
        return a
    last = a[..., -1:] if fill is None else np.full((*a.shape[:-1], 1), fill)
    return np.concatenate([a, np.repeat(last, extra, axis=-1)], axis=-1)
