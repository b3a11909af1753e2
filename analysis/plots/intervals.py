"""Figures of uncertainty: profiles, bootstrap pairs, errors beyond a cutoff."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.errors import AnalysisError
from analysis.fitting.record import Fit
from analysis.plots.style import (
    AXIS,
    GREY,
    INK,
    LAW,
    MARKERS,
    SECOND,
    log_axis,
    panels,
    power_of_ten,
    styled,
    thin,
)
from analysis.selection.extrapolation import HoldOut
from analysis.uncertainty.profile import Profile

FEW_CUTOFFS = 6
"""The most cutoffs whose labels fit side by side."""
AXES: tuple[Literal["x", "y"], ...] = ("x", "y")


@styled
def profile_curve(
    values: np.ndarray,
    objective: np.ndarray,
    label: str,
    threshold: float | None = None,
) -> Figure:
    """The objective's rise above its minimum when one constant is held.

    Args:
        values: where the constant is held, natural units.
        objective: the minimum over all other constants there.
        label: name and unit of the constant.
        threshold: the objective at the ends of the interval.
    """
    figure, (ax,) = panels()
    least = float(np.min(objective))
    ax.plot(values, 100 * (objective / least - 1), color=LAW)
    if threshold is not None:
        level = 100 * (threshold / least - 1)
        ax.axhline(level, color=INK, lw=0.8, ls="--")
        ax.set_ylim(-0.05 * level, 3 * level)
    if np.all(values > 0) and values.max() / values.min() > 30:
        ax.set_xscale("log")
    ax.set(xlabel=label, ylabel="rise of the objective (%)", title="Profile")
    return figure


@styled
def profiles(curves: Sequence[Profile]) -> Figure:
    """One panel per constant: the rise of the objective when it is held.

    The solid stretch is the interval; values in natural units (E in nats).
    """
    figure, axes = panels(len(curves), width=3.3, height=2.7, columns=3)
    for ax, curve in zip(axes, curves, strict=True):
        _profile(ax, curve)
    for ax in axes[::3]:
        ax.set_ylabel("rise of the objective (%)")
    return figure


def _profile(ax: Axes, curve: Profile) -> None:
    least = float(curve.objective.min())
    rise = 100 * (curve.objective / least - 1)
    level = 100 * (curve.threshold / least - 1)
    inside = rise <= 1.001 * level
    ends = [x for x in curve.interval if np.isfinite(x)]
    # With its ends the solid line meets the threshold.
    values = np.unique([*curve.values[inside], *ends])
    ax.plot(curve.values, rise, color=GREY, lw=1.0, ls=":")
    ax.plot(values, np.interp(values, curve.values, rise), color=LAW, lw=2.0)
    ax.axhline(level, color=INK, lw=0.8, ls="--")
    ax.set_ylim(-0.05 * level, 3 * level)
    shown = curve.values[rise <= 3 * level]
    ax.set_xlim(shown.min(), shown.max())
    if shown.min() > 0 and shown.max() / shown.min() > 10:
        log_axis(ax, "x", shown)
    low, high = (f"{x:.3g}" if np.isfinite(x) else "∞" for x in curve.interval)
    low = "−∞" if low == "∞" else low
    unit = " (nats)" if curve.name == "E" else ""
    ax.set(xlabel=f"{curve.name}{unit}", title=f"{curve.name}: {low} to {high}")


@styled
def bootstrap_pairs(
    fit: Fit, pairs: Sequence[tuple[str, str]] | None = None, most: int = 250
) -> Figure:
    """Scatter of the bootstrap draws of pairs of constants, in natural units.

    Args:
        fit: with replicas.
        pairs: names of constants; each with the next one when None.
        most: draws shown in a panel.

    Raises:
        AnalysisError: the fit has no replicas.
    """
    if not fit.replicas:
        raise AnalysisError("the fit has no bootstrap replicas: nothing to scatter")
    names = list(fit.replicas)
    pairs = pairs or tuple(pairwise(names))
    figure, axes = panels(len(pairs), width=2.9, height=2.8)
    for ax, (first, second) in zip(axes, pairs, strict=True):
        x, y = np.array(fit.replicas[first]), np.array(fit.replicas[second])
        pick = thin(len(x), most)
        ax.plot(x[pick], y[pick], ".", color=SECOND, ms=3, alpha=0.5, mew=0)
        at = fit.constants[first], fit.constants[second]
        ax.plot(*at, "+", color=INK, ms=12, mew=1.8)
        for axis, values in zip(AXES, (x, y), strict=True):
            if values.min() > 0 and values.max() / values.min() > 10:
                log_axis(ax, axis, values)
        ax.set(xlabel=_named(first), ylabel=_named(second))
    record = fit.provenance.bootstrap
    axes[0].set_title(f"{len(x)} draws of {record['units']} {record['kind']}s; +: fit")
    return figure


def _named(constant: str) -> str:
    return f"{constant} (nats)" if constant == "E" else constant


@styled
def rollout_errors(held_out: Mapping[str, Sequence[HoldOut]]) -> Figure:
    """Prediction error above a compute cutoff against that cutoff, one line per law.

    Args:
        held_out: name of the law -> its errors, cheapest cutoff first.
    """
    figure, (ax,) = panels(width=6.0)
    colours = (LAW, SECOND, INK, "#3B7A2A", "#8A4F9E")
    for i, (name, errors) in enumerate(held_out.items()):
        colour, marker = colours[i % len(colours)], MARKERS[i % len(MARKERS)]
        cut = [h.cutoff for h in errors]
        percent = [100 * h.rms_log_error for h in errors]
        style = ("-", "--", "-.", ":")[i % 4]
        ax.plot(cut, percent, style, label=name, color=colour, marker=marker)
    cutoffs = np.unique([h.cutoff for h in chain(*held_out.values())])
    log_axis(ax, "x", cutoffs)
    if len(cutoffs) <= FEW_CUTOFFS:
        ax.set_xticks(cutoffs, [power_of_ten(c) for c in cutoffs])
        ax.set_xticks([], minor=True)
    ax.set_xlabel(f"fitted up to {AXIS['c']}")
    ax.set_ylim(bottom=0)
    ax.set_ylabel("rms error of ln loss above the cutoff (%)")
    ax.set_title("Prediction beyond the fitted budgets")
    ax.legend()
    return figure
