"""Rows that stand in a table more than once: copies, and steps logged anew by a resume.

A run that was resumed logs the steps since its last checkpoint a second time, and an
export numbers its rows, so that copies are not quite equal. Charts of trackers export
each curve with its least and greatest values beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.tables.expression import mentions

RUNS = ("run_id", "run", "run_name", "run.id", "run.name")
STEPS = ("step", "_step", "global_step", "trainer/global_step", "iteration")
"""Names, in small letters, of the columns that trackers give to runs and steps."""
CHART_COPY = re.compile(r"(?P<of>.+)__(?P<which>MIN|MAX)")
"""The least and greatest value of a bucket, in charts that W&B exports."""


def copies(frame: pd.DataFrame) -> np.ndarray:
    """The rows (rows,) that equal an earlier one in all but a count of the rows."""
    counts = [name for name in frame.columns if _is_count(frame[name])]
    rest = frame.drop(columns=counts)
    if rest.empty:
        rest = frame
    return np.asarray(rest.astype(str).duplicated())


def _is_count(column: pd.Series | pd.DataFrame) -> bool:
    """Whether a column is an index: 0, 1, 2, … or 1, 2, 3, …"""
    if not isinstance(column, pd.Series) or not pd.api.types.is_integer_dtype(column):
        return False
    first = column.iloc[0]
    if pd.isna(first) or first not in (0, 1):
        return False
    expected = np.arange(first, first + len(column))
    return bool((column.to_numpy() == expected).all())


def superseded(frame: pd.DataFrame, roles: Mapping[str, str]) -> np.ndarray:
    """The rows (rows,) that a later one of the same run and step takes the place of.

    Rows that differ in a text (the metric, the split) or in a scale are no repeats; nor
    are any where a run has several sizes, and so is no name of a training.

    Args:
        frame: the rows, later attempts after earlier ones.
        roles: role -> column or expression.
    """
    lower = {str(name).lower(): name for name in frame.columns}
    step = next((lower[k] for k in STEPS if k in lower), None)
    run = roles.get("run") or next((lower[k] for k in RUNS if k in lower), None)
    if step is None or run not in frame.columns:
        return np.zeros(len(frame), bool)
    size = roles.get("n")
    if size in frame.columns and (frame.groupby(run)[size].nunique() > 1).any():
        return np.zeros(len(frame), bool)
    scales = [text for role, text in roles.items() if role != "loss"]
    same = [
        name
        for name in frame.columns
        if name in (run, step)
        or not pd.api.types.is_numeric_dtype(frame[name])
        or any(mentions(text, str(name)) for text in scales)
    ]
    return np.asarray(frame[same].astype(str).duplicated(keep="last"))


def chart_copy(name: str, frame: pd.DataFrame) -> str | None:
    """The column of which this one holds a chart's least or greatest values."""
    match = CHART_COPY.fullmatch(name)
    return match["of"] if match and match["of"] in frame.columns else None
