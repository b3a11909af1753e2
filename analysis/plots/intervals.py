"""Figures of uncertainty: profiles, bootstrap pairs, errors beyond a cutoff."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from analysis.plots.style import AXIS, INK, LAW, MARKERS, SECOND, panels, styled, thin
from analysis.records import Fit
from analysis.rollout import HeldOut


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
def bootstrap_pairs(fit: Fit) -> Figure:
    """Scatter of the bootstrap draws of each constant against the next one.

    Raises ValueError when the fit has no replicas.
    """
    if not fit.replicas:
        raise ValueError("the fit has no bootstrap replicas")
    names = list(fit.replicas)
    figure, axes = panels(len(names) - 1, width=3.0, height=2.9)
    for ax, one, other in zip(axes, names[:-1], names[1:], strict=True):
        x, y = np.array(fit.replicas[one]), np.array(fit.replicas[other])
        pick = thin(len(x), 400)
        ax.plot(x[pick], y[pick], ".", color=SECOND, ms=2.5, alpha=0.5)
        ax.plot(
            fit.constants[one], fit.constants[other], "+", color=INK, ms=10, mew=1.6
        )
        for axis, values in (("x", x), ("y", y)):
            if values.min() > 0 and values.max() / values.min() > 10:
                ax.set(**{f"{axis}scale": "log"})
        ax.set(xlabel=one, ylabel=other)
    axes[0].set_title(f"{len(x)} bootstrap draws; +: fit")
    return figure


@styled
def rollout_errors(held_out: dict[str, Sequence[HeldOut]]) -> Figure:
    """Prediction error above a compute cutoff against that cutoff, one line per law.

    Args:
        held_out: name of the law -> its errors, cheapest cutoff first.
    """
    figure, (ax,) = panels(width=6.0)
    colours = (LAW, SECOND, INK, "#3B7A2A", "#8A4F9E")
    for i, (name, found) in enumerate(held_out.items()):
        colour, marker = colours[i % len(colours)], MARKERS[i % len(MARKERS)]
        cut = [h.cutoff for h in found]
        error = [100 * h.rms_log_error for h in found]
        ax.plot(cut, error, label=name, color=colour, marker=marker)
    ax.set(xscale="log", yscale="log", xlabel=f"fitted up to {AXIS['c']}")
    ax.set_ylabel("rms error of ln loss above the cutoff (%)")
    ax.set_title("Prediction beyond the fitted budgets")
    ax.legend()
    return figure
