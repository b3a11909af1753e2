"""Figures of families side by side: their learning curves and the exponents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.optimal.families import POWER, Curve
from analysis.plots.style import (
    AXIS,
    GREY,
    INK,
    LAW,
    MARKERS,
    SECOND,
    log_loss_axis,
    panels,
    styled,
)
from analysis.tables.columns import ERROR, LOSS
from analysis.uncertainty.predictions import predict

COLOURS = (LAW, SECOND, INK, "#3B7A2A", "#8A4F9E", GREY)
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (1, 1)))
LABELS = AXIS | {"d": "different training examples or tokens D"}
PANELS = {
    "n": "At full data",
    "d": "At the largest model",
    "c": "Along the frontier of compute",
}
MEASURES = {LOSS: AXIS["loss"], ERROR: "held-out error (1 - accuracy)"}


@styled
def family_scaling(curves: Sequence[Curve], measure: str) -> Figure:
    """One panel per scale: the runs of each family, its law and the law's band.

    All panels span the measured values; a band may leave them.

    Args:
        curves: of `by_family`.
        measure: "loss" or "error".
    """
    figure, axes = panels(3, width=4.2, height=3.8)
    names = _names(curves)
    values = np.concatenate([c.y for c in curves if c.measure == measure])
    for ax, axis in zip(axes, PANELS, strict=True):
        for curve in curves:
            if (curve.axis, curve.measure) == (axis, measure):
                _curve(ax, curve, names.index(curve.family))
        ax.set(xscale="log", xlabel=LABELS[axis], title=PANELS[axis])
        ax.set_ylim(values.min() / 1.15, values.max() * 1.15)
        log_loss_axis(ax)
    axes[0].set_ylabel(MEASURES[measure])
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(names))
    return figure


def _names(curves: Sequence[Curve]) -> list[str]:
    return list(dict.fromkeys(c.family for c in curves))


def _curve(ax: Axes, curve: Curve, index: int) -> None:
    colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
    ax.plot(curve.x, curve.y, marker, color=colour, ms=4.5, mec="white", mew=0.3)
    dashes = DASHES[index % len(DASHES)]
    # An empty line carries the legend, where no law could be fitted as well.
    ax.plot([], [], ls=dashes, color=colour, marker=marker, label=curve.family)
    if (fit := curve.shown) is None:
        return
    xs = np.geomspace(curve.x.min() / 1.3, curve.x.max() * 2, 60)
    band = predict(fit, {"x": xs})
    ax.fill_between(xs, band.low, band.high, color=colour, alpha=0.12, lw=0)
    ax.plot(xs, band.value, ls=dashes, color=colour, lw=1.2)


@styled
def family_exponents(curves: Sequence[Curve]) -> Figure:
    """Exponents c of the plain power law b x^-c, with intervals.

    One panel per measure, one line per scale, one marker per family.
    """
    measures = list(dict.fromkeys(c.measure for c in curves))
    figure, axes = panels(len(measures), width=4.6, height=3.0)
    names = _names(curves)
    for ax, measure in zip(axes, measures, strict=True):
        for curve in curves:
            if curve.measure == measure and POWER in curve.fits:
                _exponent(ax, curve, names)
        ax.set_yticks(range(len(PANELS)), [LABELS[axis] for axis in PANELS])
        ax.set(ylim=(len(PANELS) - 0.5, -0.5), xlabel="exponent c of b x^-c")
        ax.set_title(MEASURES[measure])
        ax.grid(visible=False, axis="y")
        ax.set_xlim(left=min(0.0, ax.get_xlim()[0]))
    for ax in axes[1:]:
        ax.set_yticklabels([])
    for i, name in enumerate(names):
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        axes[0].plot([], [], marker, color=colour, label=name)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(names))
    return figure


def _exponent(ax: Axes, curve: Curve, names: Sequence[str]) -> None:
    index, fit = names.index(curve.family), curve.fits[POWER]
    y = list(PANELS).index(curve.axis) + 0.16 * (index - (len(names) - 1) / 2)
    colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
    ax.plot(fit.intervals["c"], [y, y], color=colour, lw=1.2, solid_capstyle="butt")
    ax.plot(fit.constants["c"], y, marker, color=colour, ms=5)
