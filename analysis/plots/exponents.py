"""The exponent of N* by every estimator under every counting convention."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.optimal.side_by_side import Exponent
from analysis.plots.style import GREY, INK, LAW, SECOND, panels, styled

LITERATURE = (("Hoffmann 2022 ", 0.50, "right"), (" Kaplan 2020", 0.73, "left"))
SERIES = ((LAW, "o"), (SECOND, "s"), (INK, "^"), (GREY, "D"))
SHOWN = (-0.1, 1.3)
"""The exponents shown; those beyond are cut off, and marked by an arrow."""


@styled
def exponent_comparison(rows: Sequence[Exponent]) -> Figure:
    """Exponents a of N* ∝ C^a with their intervals, one line per estimator.

    Args:
        rows: of `side_by_side`; estimators without a number say so.
    """
    approaches = list(dict.fromkeys(r.approach for r in rows))
    conventions = list(dict.fromkeys(r.convention for r in rows))
    figure, (ax,) = panels(width=6.4, height=1.2 + 0.72 * len(approaches))
    for name, value, side in LITERATURE:
        ax.axvline(value, color=GREY, lw=0.9, ls=":")
        ax.text(value, -0.5, name, fontsize=7.5, color=INK, ha=side, va="center")
    for row in rows:
        index = conventions.index(row.convention)
        offset = 0.2 * (index - (len(conventions) - 1) / 2)
        y = approaches.index(row.approach) + offset
        _row(ax, row, y, *SERIES[index % len(SERIES)])
    for (colour, marker), name in zip(SERIES, conventions, strict=False):
        ax.plot([], [], marker, color=colour, label=f"N = {name}")
    ax.set_yticks(range(len(approaches)), approaches)
    ax.set(ylim=(len(approaches) - 0.4, -0.65), xlim=SHOWN)
    ax.set_xlabel("exponent a of N* ∝ C^a, with its interval")
    ax.grid(visible=False, axis="y")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _row(ax: Axes, row: Exponent, y: float, colour: str, marker: str) -> None:
    if not row.known:
        ax.text(0.0, y, "no estimate", fontsize=7, color=colour, va="center")
        return
    low, high = np.clip(row.interval, *SHOWN)
    if np.isfinite(low + high):
        ax.plot([low, high], [y, y], color=colour, lw=1.2, solid_capstyle="butt")
        for end, given, arrow in zip((low, high), row.interval, "<>", strict=True):
            if end != given:
                ax.plot(end, y, arrow, color=colour, ms=5, clip_on=False)
    ax.plot(float(np.clip(row.value, *SHOWN)), y, marker, color=colour, ms=5)
