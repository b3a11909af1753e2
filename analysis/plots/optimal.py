"""Figures of compute-optimal scaling: isoFLOP curves, N* and D* against C."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.fitting.record import Fit
from analysis.optimal.isoflop import IsoFlop
from analysis.optimal.parabolas import Parabola
from analysis.optimal.published_frontiers import PublishedFrontier
from analysis.plots.style import (
    AXIS,
    BAND,
    GREY,
    INK,
    LAW,
    SECOND,
    Shades,
    log_loss_axis,
    panels,
    power_of_ten,
    styled,
)
from analysis.uncertainty.predictions import Band, optimum_at


@styled
def isoflop_curves(result: IsoFlop) -> Figure:
    """Loss against size along each budget, the parabolas and their minima.

    Filled stars are minima inside the grid; an open star is a minimum at the grid's
    edge, which is not used.
    """
    figure, (ax,) = panels(width=6.4)
    shades = Shades([p.compute for p in result.parabolas])
    for parabola in result.parabolas:
        _parabola(ax, parabola, shades)
    ax.set(xscale="log", xlabel=AXIS["n"], ylabel=AXIS["loss"])
    ax.set_title("IsoFLOP curves; stars: minima (open: at the grid's edge)")
    log_loss_axis(ax)
    ax.legend(title="C (FLOPs)", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _parabola(ax: Axes, parabola: Parabola, shades: Shades) -> None:
    colour, n = shades.colour(parabola.compute), np.array(parabola.n)
    marker = shades.marker(parabola.compute)
    ax.plot(
        n, parabola.loss, marker, color=colour, label=power_of_ten(parabola.compute)
    )
    ns = np.geomspace(n[0] / 1.15, n[-1] * 1.15, 60)
    ax.plot(ns, parabola.at(ns), color=colour, lw=1.0)
    inside = ns[0] <= parabola.n_star <= ns[-1]
    if inside:
        face = "white" if parabola.edge else LAW
        ax.plot(
            parabola.n_star, parabola.loss_star, "*", ms=11, mfc=face, mec=INK, zorder=4
        )


@styled
def optimal_allocation(
    compute_range: tuple[float, float],
    fit: Fit | None = None,
    isoflop: IsoFlop | None = None,
    published: Sequence[PublishedFrontier] = (),
) -> Figure:
    """N*(C) and D*(C): the parametric law with its band, and the isoFLOP minima.

    Args:
        compute_range: least and greatest C of the data (FLOPs); lines go on ten times
            beyond, dotted.
        fit: a law in n and d.
        isoflop: parabola minima.
        published: frontiers of other papers, for comparison.
    """
    figure, axes = panels(2, width=4.8, height=4.3)
    low, high = compute_range
    compute = np.geomspace(low, 10 * high, 60)
    measured = compute <= high
    if fit is not None:
        best = optimum_at(fit, compute)
        for ax, key in zip(axes, ("n", "d"), strict=True):
            _law(ax, compute, measured, best[key], fit)
    if isoflop is not None:
        _minima(axes, isoflop, compute)
    for ax, role, index in ((axes[0], "n", 0), (axes[1], "d", 1)):
        for i, entry in enumerate(published):
            style = ("--", "-.", ":")[i % 3]
            values = (entry.n_star, entry.d_star)[index](compute)
            ax.plot(compute, values, style, color=INK, lw=0.9, label=entry.name)
        ax.set(xscale="log", yscale="log")
        ax.set(xlabel=AXIS["c"], ylabel=f"optimal {AXIS[role]}")
        ax.axvline(high, color=GREY, lw=0.6, ls="--")
    if isoflop is not None:
        _exponent_titles(axes, isoflop)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _exponent_titles(axes: Sequence[Axes], isoflop: IsoFlop) -> None:
    for ax, line in zip(axes, (isoflop.n_star, isoflop.d_star), strict=True):
        if line is not None:
            ax.set_title(f"isoFLOP minima: exponent {line.exponent:.2f}")


def _law(
    ax: Axes, compute: np.ndarray, measured: np.ndarray, band: Band, fit: Fit
) -> None:
    if np.isfinite(band.low).any():
        level = fit.provenance.bootstrap["level"]
        label = f"{level:.0%} band"
        ax.fill_between(
            compute, band.low, band.high, color=BAND, alpha=0.5, lw=0, label=label
        )
    ax.plot(compute[measured], band.value[measured], color=LAW, label=f"{fit.law} law")
    ax.plot(compute[~measured], band.value[~measured], color=LAW, ls=":")


def _minima(axes: Sequence[Axes], isoflop: IsoFlop, compute: np.ndarray) -> None:
    good = [p for p in isoflop.parabolas if not p.edge]
    at = [p.compute for p in good]
    series = (
        ([p.n_star for p in good], isoflop.n_star),
        ([p.d_star for p in good], isoflop.d_star),
    )
    for ax, (values, line) in zip(axes, series, strict=True):
        ax.plot(at, values, "*", ms=9, mfc="white", mec=SECOND, label="isoFLOP minima")
        if line is not None:
            label = "power law through them"
            ax.plot(compute, line.at(compute), color=SECOND, lw=1, ls="--", label=label)
