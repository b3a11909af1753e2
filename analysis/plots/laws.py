"""The figure of a fitted law: its surface, and its residuals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.fitting.record import Fit
from analysis.plots.style import (
    AXIS,
    GREY,
    INK,
    LAW,
    Shades,
    log_loss_axis,
    panels,
    styled,
    thin,
)
from analysis.tables.table import Table
from analysis.uncertainty.predictions import optimum_at, predict

RESIDUAL_LABEL = "residual ln(predicted / observed) (%)"


def _points(
    ax: Axes, x: np.ndarray, y: np.ndarray, n: np.ndarray, shades: Shades
) -> None:
    for i in thin(len(x), 1500):
        colour, marker = shades.colour(n[i]), shades.marker(n[i])
        ax.plot(x[i], y[i], marker, zorder=3, color=colour, mec="white", mew=0.3)


@styled
def law_surface(fit: Fit, table: Table) -> Figure:
    """A law in n and d against its rows: contours, curves of constant size, residuals.

    Args:
        fit: of a law in n and d.
        table: the rows that it was fitted to.
    """
    figure, axes = panels(3, width=4.6, height=4.0)
    n, d, loss = table.values("n"), table.values("d"), table.values("loss")
    shades = Shades(n)
    _contours(axes[0], fit, n, d, shades)
    _size_curves(axes[1], fit, n, d, shades)
    _points(axes[1], d, loss, n, shades)
    log_loss_axis(axes[1])
    x, label = (table.values("c"), AXIS["c"]) if table.has("c") else (d, AXIS["d"])
    _residuals(axes[2], fit, x, n, shades, label)
    shades.bar(figure, axes[2], AXIS["n"])
    return figure


def _contours(ax: Axes, fit: Fit, n: np.ndarray, d: np.ndarray, shades: Shades) -> None:
    ns = np.geomspace(n.min() / 1.5, n.max() * 1.5, 60)
    ds = np.geomspace(d.min() / 1.5, d.max() * 1.5, 60)
    grid_n, grid_d = np.meshgrid(ns, ds)
    surface = predict_value(fit, grid_n, grid_d)
    levels = np.unique(
        [float(f"{v:.3g}") for v in np.quantile(surface, np.linspace(0.04, 0.96, 9))]
    )
    lines = ax.contour(ns, ds, surface, levels=levels, colors=INK, linewidths=0.7)
    ax.clabel(lines, fmt="%g", fontsize=7)
    k = fit.provenance.flops_per_nd
    compute = np.geomspace(k * n.min() * d.min(), k * n.max() * d.max(), 60)
    best = optimum_at(fit, compute)
    ax.plot(best["n"].value, best["d"].value, color=LAW)
    _points(ax, n, d, n, shades)
    ax.set(xscale="log", yscale="log", xlim=ns[[0, -1]], ylim=ds[[0, -1]])
    title = f"{fit.law}: loss (nats); line: compute-optimal"
    ax.set(xlabel=AXIS["n"], ylabel=AXIS["d"], title=title)
    ax.grid(visible=False)


def predict_value(fit: Fit, n: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Loss (nats) of a law in n and d, without a band."""
    return predict(replace(fit, replicas={}), {"n": n, "d": d}).value


def _size_curves(
    ax: Axes, fit: Fit, n: np.ndarray, d: np.ndarray, shades: Shades
) -> None:
    ds = np.geomspace(d.min() / 1.3, d.max() * 1.3, 60)
    sizes = np.unique(n)
    for size in sizes[thin(len(sizes), 10)]:
        curve = predict_value(fit, np.full_like(ds, size), ds)
        ax.plot(ds, curve, color=shades.colour(size), lw=1.0)
    ax.set(xscale="log", xlabel=AXIS["d"], ylabel=AXIS["loss"])
    ax.set_title("Lines: the law at one size each")


def _residuals(
    ax: Axes, fit: Fit, x: np.ndarray, n: np.ndarray, shades: Shades, label: str
) -> None:
    percent = 100 * np.asarray(fit.residuals)
    ax.axhline(0, color=INK, lw=0.8)
    rms = 100 * fit.diagnostics.rms_residual
    ax.axhspan(-rms, rms, color=GREY, alpha=0.12, lw=0)
    _points(ax, x, percent, n, shades)
    ax.set(xscale="log", xlabel=label, ylabel=RESIDUAL_LABEL)
    ax.set_title(f"Residuals; grey: ± rms {rms:.2g} %")
