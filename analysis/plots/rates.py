"""Figures of tuned learning rates: loss against rate, and the rule through the best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.plots.style import (
    AXIS,
    INK,
    LAW,
    Colour,
    Shades,
    log_axis,
    log_loss_axis,
    panels,
    power_of_ten_or_plain,
    styled,
    thin,
)
from analysis.tuning.lr_curve import LrCurve
from analysis.tuning.lr_rule import LrRule

MOST_PANELS = 12
RATE_AXIS = "learning rate"


class LineStyle(TypedDict, total=False):
    """Keywords of a line that figures share."""

    marker: str
    ms: float
    mfc: str
    mec: str
    ls: str
    zorder: float
    color: str


MINIMUM: LineStyle = {
    "marker": "*",
    "ms": 11,
    "mfc": LAW,
    "mec": INK,
    "ls": "",
    "zorder": 4,
}
FLAGGED: LineStyle = {**MINIMUM, "mfc": "white"}
DIVERGED: LineStyle = {"marker": "x", "color": INK, "ls": "", "ms": 6}


@styled
def loss_against_rate(curves: Sequence[LrCurve]) -> Figure:
    """Final loss against learning rate: a panel per size N, a curve per point.

    Args:
        curves: the points; of more than 12 sizes, evenly spread ones are drawn.
    """
    sizes = np.unique([c.n for c in curves])
    shown = sizes[thin(len(sizes), MOST_PANELS)]
    figure, axes = panels(len(shown), width=3.9, height=3.3)
    tokens = np.array([c.d for c in curves])
    known = bool(np.isfinite(tokens).all())
    shades = Shades(tokens if known else np.ones(1))
    for ax, n in zip(axes, shown, strict=True):
        same_size = [c for c in curves if c.n == n or np.isnan([c.n, n]).all()]
        _panel(ax, same_size, shades)
        title = f"N = {power_of_ten_or_plain(float(n))}" if np.isfinite(n) else ""
        ax.set_title(title)
    if known and len(shades.order) > 1:
        shades.bar(figure, axes[-1], AXIS["d"])
    keys = {
        "minimum": MINIMUM,
        "best run, no minimum": FLAGGED,
        "diverged": DIVERGED,
    }
    handles = [Line2D([], [], label=label, **style) for label, style in keys.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _panel(ax: Axes, curves: Sequence[LrCurve], shades: Shades) -> None:
    rates = np.concatenate([c.rates for c in curves])
    for curve in curves:
        d = curve.d if np.isfinite(curve.d) else 1.0
        colour = shades.colour(d)
        ax.plot(
            curve.rates, curve.losses, shades.marker(d) + "-",
            color=colour, lw=0.7, ms=4, alpha=0.9,
        )  # fmt: skip
        _minimum(ax, curve, colour)
        diverged = curve.diverged
        ax.plot(
            diverged, np.full(len(diverged), 0.97), transform=ax.get_xaxis_transform(),
            marker="x", color=colour, ls="", ms=6,
        )  # fmt: skip
    log_axis(ax, "x", rates)
    ax.set_xlim(rates.min() / 1.4, rates.max() * 1.4)
    log_loss_axis(ax)
    ax.set(xlabel=RATE_AXIS, ylabel=AXIS["loss"])


def _minimum(ax: Axes, curve: LrCurve, colour: Colour) -> None:
    if np.isnan(curve.lr):
        return
    if curve.parabola is not None:
        i = curve.rates.index(curve.lr_best)
        near = np.geomspace(curve.rates[i - 1], curve.rates[i + 1], 40)
        ax.plot(near, curve.at(near), color=colour, lw=1.8)
    ax.plot(curve.lr, curve.loss, **(FLAGGED if curve.flag else MINIMUM))


@styled
def rates_against_size(curves: Sequence[LrCurve], rule: LrRule) -> Figure:
    """The best rates against N, with the rule at the least and the greatest D.

    Args:
        curves: the points; flagged ones are hollow.
        rule: fitted to the others, drawn at the median batch.
    """
    figure, (ax,) = panels(width=6.4)
    known = [c for c in curves if np.isfinite(c.lr)]
    tokens = np.array([c.d for c in known])
    shades = Shades(tokens if np.isfinite(tokens).all() else np.ones(1))
    n = np.array([c.n for c in known])
    for curve in known:
        colour = shades.colour(curve.d) if np.isfinite(curve.d) else INK
        face = "white" if curve.flag else colour
        marker = shades.marker(curve.d)
        ax.plot(curve.n, curve.lr, marker, mfc=face, mec=colour, zorder=3)
    ns = np.geomspace(n.min() / 1.5, n.max() * 4, 40)
    batch = float(np.median([c.batch for c in known]))
    ends = (tokens.min(), tokens.max()) if rule.exponents["d"] else tokens[:1]
    for d, style in zip(ends, ("-", "--"), strict=False):
        label = f"D = {power_of_ten_or_plain(float(d))}" if len(ends) > 1 else "rule"
        ax.plot(ns, rule.at(ns, d, batch) * np.ones(40), style, color=LAW, label=label)
    ax.set(xscale="log", xlabel=AXIS["n"], ylabel=f"best {RATE_AXIS}")
    log_axis(ax, "y", np.array([c.lr for c in known]))
    ax.set_title(f"{rule.formula}; hollow: no minimum")
    ax.legend()
    if len(shades.order) > 1:
        shades.bar(figure, ax, AXIS["d"])
    return figure
