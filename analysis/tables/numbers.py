"""Columns of numbers, however they were written: text, decimals, nullable, categories.

A column is changed only if every cell of it is a number of one manner of writing.
"""

from __future__ import annotations

import decimal
import re
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

NOTES = "notes"
"""The attribute of a frame that holds sentences on how it was read."""
EMPTY = frozenset(["", "-", "–", "nan", "none", "null", "n/a", "na"])
"""Texts that stand for no number."""
MOST_DIGITS = 24
"""Characters beyond which a text is a name, though it may be of digits alone."""
UNITS = {"K": 1e3, "k": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}
PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.I)
THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")
PERCENT = re.compile(r"([+-]?\d+\.?\d*)\s*%")
PF_DAYS = re.compile(r"([+-]?\d+\.?\d*(?:[eE][+-]?\d+)?)\s*PF-?days?", re.I)
PF_DAY = 1e15 * 86_400
"""FLOPs of a petaFLOP/s-day (Kaplan et al. 2020)."""
WITH_UNIT = re.compile(r"([+-]?\d+\.?\d*)\s*([KkMBGT])")


def as_numbers(frame: pd.DataFrame, *, decimal_comma: bool = False) -> pd.DataFrame:
    """The frame with its columns of numbers as float64, int64 or bool.

    What had to be decided for that is noted in `frame.attrs["notes"]`.

    Args:
        frame: the rows.
        decimal_comma: a comma is rather a decimal point than a separator of thousands.
    """
    notes = list(frame.attrs.get(NOTES, ()))
    commas = (_AS_POINT, _OF_THOUSANDS) if decimal_comma else (_OF_THOUSANDS, _AS_POINT)
    manners = (_PLAIN, *commas, _IN_PERCENT, _WITH_UNIT)
    columns = {}
    for name in frame.columns:
        columns[name], note = _column(frame[name], manners)
        if note:
            notes.append(f"column {str(name)!r}: {note}")
    changed = pd.DataFrame(columns, index=frame.index)
    changed.columns = frame.columns
    changed.attrs = {**frame.attrs, NOTES: notes}
    return changed


def _column(series: pd.Series, manners: Sequence[_Manner]) -> tuple[pd.Series, str]:
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(series.cat.categories.dtype)
    if series.dtype == np.float16:
        return series.astype(np.float64), (
            "half precision keeps three digits: its steps may count as noise"
        )
    if pd.api.types.is_bool_dtype(series.dtype):
        whole = not series.isna().any()
        return (series.astype(bool) if whole else series.astype(object)), ""
    if pd.api.types.is_extension_array_dtype(series.dtype) and (
        pd.api.types.is_numeric_dtype(series.dtype)
    ):
        return series.astype(np.float64), ""
    if series.dtype == object or pd.api.types.is_string_dtype(series.dtype):
        return _from_objects(series.astype(object), manners)
    return series, ""


def _from_objects(
    series: pd.Series, manners: Sequence[_Manner]
) -> tuple[pd.Series, str]:
    cells = series[series.notna()]
    if len(cells) == 0:
        return series, ""
    if all(isinstance(v, decimal.Decimal | int | float) for v in cells) and not any(
        isinstance(v, bool) for v in cells
    ):
        return series.astype(np.float64), ""
    if not all(isinstance(v, str) for v in cells):
        return series, ""
    texts = cells.str.strip()
    texts = texts[~texts.str.lower().isin(EMPTY)]
    if texts.str.len().max() > MOST_DIGITS:
        return series, ""
    for manner in manners:
        values = manner.read(texts)
        if values is not None and len(values):
            full = pd.Series(np.nan, index=series.index, dtype=np.float64)
            full[texts.index] = values
            return full, manner.note
    return series, ""


class _Manner:
    def __init__(
        self, pattern: re.Pattern[str], number: Callable[[str], float], note: str
    ) -> None:
        self._pattern, self._number, self.note = pattern, number, note

    def read(self, texts: pd.Series) -> np.ndarray | None:
        """The numbers, or None if a text is of another manner."""
        if not all(map(self._pattern.fullmatch, texts)):
            return None
        return np.array([self._number(text) for text in texts], np.float64)


def amount(text: str) -> float:
    """The number that a user wrote: `7e10`, `70B`, `3,000`, `12 PF-days`.

    Raises:
        ValueError: it is none.
    """
    text = text.strip()
    if match := PF_DAYS.fullmatch(text):
        return float(match[1]) * PF_DAY
    if WITH_UNIT.fullmatch(text):
        return _with_unit(text)
    return float(text.replace(",", "") if THOUSANDS.fullmatch(text) else text)


def _with_unit(text: str) -> float:
    match = WITH_UNIT.fullmatch(text)
    return float(match[1]) * UNITS[match[2]] if match else float(text)


_PLAIN = _Manner(PLAIN, float, "")
_OF_THOUSANDS = _Manner(
    re.compile(f"{THOUSANDS.pattern}|{PLAIN.pattern}", re.I),
    lambda text: float(text.replace(",", "")),
    "commas were read as separators of thousands",
)
_AS_POINT = _Manner(
    re.compile(f"{DECIMAL_COMMA.pattern}|{PLAIN.pattern}", re.I),
    lambda text: float(text.replace(",", ".")),
    "commas were read as decimal points",
)
_IN_PERCENT = _Manner(
    PERCENT,
    lambda text: float(text.rstrip("% ")),
    "its numbers are in percent, as they stand: divide by 100 for shares",
)
_WITH_UNIT = _Manner(
    re.compile(f"{WITH_UNIT.pattern}|{PLAIN.pattern}", re.I),
    _with_unit,
    "K, M, B and T were read as 1e3, 1e6, 1e9 and 1e12",
)
