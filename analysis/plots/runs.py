"""Figures of what was measured: training curves and loss against compute."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.fitting.record import Fit
from analysis.plots.style import (
    AXIS,
    BAND,
    GREY,
    LAW,
    Shades,
    log_loss_axis,
    panels,
    styled,
    thin,
)
from analysis.tables.columns import FLOPS, RUN, STEP, TOKENS, VALUE
from analysis.tables.table import Table
from analysis.uncertainty.predictions import optimum_at

CURVE_POINTS = 12_000
"""The points of all curves of a figure together, few enough for a small SVG."""


def _curves(
    ax: Axes, metrics: pd.DataFrame, sizes: dict[str, float], x: str, shades: Shades
) -> None:
    """Draw one line per run."""
    groups = [(k, g) for k, g in metrics.groupby(RUN, sort=True) if k in sizes]
    chosen = thin(len(groups), 300)
    most = max(12, min(80, CURVE_POINTS // max(1, len(chosen))))
    for i in chosen:
        run, rows = groups[i]
        rows = rows[rows[x] > 0].sort_values(STEP)
        rows = rows.iloc[thin(len(rows), most)]
        colour = shades.colour(sizes[run])
        ax.plot(rows[x], rows[VALUE], color=colour, lw=0.8, alpha=0.75)


def _limits(
    ax: Axes, ends: np.ndarray, losses: np.ndarray, shown: pd.DataFrame, x: str
) -> None:
    """Show the curves from a fiftieth of the shortest run on, and all final losses."""
    left, right = ends.min() / 50, ends.max() * 4
    values = shown.loc[shown[x] >= left, VALUE]
    high = float(np.nanquantile(values, 0.99)) if len(values) else 0.0
    ax.set_xlim(left, right)
    ax.set_ylim(losses.min() * 0.92, max(high, float(losses.max())) * 1.03)


@styled
def training_curves(metrics: pd.DataFrame, table: Table) -> Figure:
    """Held-out loss against tokens seen, one line per run, shaded by size.

    Args:
        metrics: long rows (run_id, step, tokens, value) of one metric.
        table: the runs, with roles n, run and loss.
    """
    figure, (ax,) = panels(width=6.4)
    sizes = dict(zip(table.values("run"), table.values("n"), strict=True))
    shades = Shades(table.values("n"))
    ax.set_xscale("log")
    shown = metrics[metrics[RUN].isin(sizes)]
    _curves(ax, shown, sizes, TOKENS, shades)
    for run, d, loss in zip(
        table.values("run"), table.values("d"), table.values("loss"), strict=True
    ):
        n = sizes[run]
        ax.plot(d, loss, shades.marker(n), color=shades.colour(n), mec="white", mew=0.3)
    _limits(ax, table.values("d"), table.values("loss"), shown, TOKENS)
    log_loss_axis(ax)
    ax.set_xlabel("tokens seen")
    ax.set_ylabel(AXIS["loss"])
    ax.set_title("Training curves; markers: final loss of each run")
    shades.bar(figure, ax, AXIS["n"])
    return figure


@styled
def loss_against_compute(
    table: Table, fit: Fit | None = None, metrics: pd.DataFrame | None = None
) -> Figure:
    """Final losses (and training curves) against FLOPs, with the fitted frontier.

    Args:
        table: the runs, with roles n, c and loss (run when metrics are given).
        fit: a law in n and d; its best loss at every C is the frontier, with its band.
        metrics: long rows (run_id, step, flops, value) of one metric.
    """
    figure, (ax,) = panels(width=6.4)
    n, c, loss = table.values("n"), table.values("c"), table.values("loss")
    shades = Shades(n)
    ax.set_xscale("log")
    if metrics is not None and table.has("run"):
        sizes = dict(zip(table.values("run"), n, strict=True))
        shown = metrics[metrics[RUN].isin(sizes)]
        _curves(ax, shown, sizes, FLOPS, shades)
        _limits(ax, c, loss, shown, FLOPS)
    for i in thin(len(n), 1500):
        colour, marker = shades.colour(n[i]), shades.marker(n[i])
        ax.plot(c[i], loss[i], marker, color=colour, mec="white", mew=0.3)
    if fit is not None:
        _frontier(ax, fit, c)
        ax.legend(loc="lower left")
    log_loss_axis(ax)
    ax.set_xlabel(AXIS["c"])
    ax.set_ylabel(AXIS["loss"])
    ax.set_title("Loss against compute; markers: final loss of each run")
    shades.bar(figure, ax, AXIS["n"])
    return figure


def _frontier(ax: Axes, fit: Fit, c: np.ndarray) -> None:
    compute = np.geomspace(c.min(), c.max() * 4, 60)
    best = optimum_at(fit, compute)["loss"]
    inside = compute <= c.max()
    ax.plot(compute[inside], best.value[inside], color=LAW, label="fitted frontier")
    ax.plot(
        compute[~inside], best.value[~inside], color=LAW, ls=":", label="beyond data"
    )
    if np.isfinite(best.low).any():
        level = fit.provenance.bootstrap["level"]
        ax.fill_between(
            compute, best.low, best.high, color=BAND, alpha=0.5, lw=0,
            label=f"{level:.0%} band",
        )  # fmt: skip
    ax.axvline(c.max(), color=GREY, lw=0.6, ls="--")
