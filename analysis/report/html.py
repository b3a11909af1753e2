"""Tables of a page; every text that comes from data is escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

import numpy as np


def html_table(head: Iterable[Any], rows: Iterable[Iterable[Any]]) -> str:
    """An escaped HTML table."""

    def line(cells: Iterable[Any], tag: str) -> str:
        inner = "".join(f"<{tag}{_kind(c)}>{escape(_cell(c))}</{tag}>" for c in cells)
        return f"<tr>{inner}</tr>"

    body = "".join(line(r, "td") for r in rows)
    return f'<div class="scroll"><table>{line(head, "th")}{body}</table></div>'


def _kind(value: Any) -> str:
    """Prose is set to the left and may break over lines."""
    return ' class="prose"' if isinstance(value, str) and len(value) > 36 else ""


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "–"
    if isinstance(value, (float, np.floating)):
        return f"{value:.5g}"
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        value = int(value)
        return f"{value:,}" if abs(value) < 10**9 else f"{value:.4g}"
    return str(value)
