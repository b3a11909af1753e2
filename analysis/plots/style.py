"""The look of every figure: print sizes, ordered colours, markers, labels with units.

Colours run along viridis, whose lightness is monotonic, so an order survives both
colour blindness and a black-and-white printer; markers and line styles repeat it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Literal, ParamSpec

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    NullFormatter,
    StrMethodFormatter,
)
from numpy.typing import ArrayLike

INK = "#111111"
LAW = "#C44E00"
"""The colour of a fitted law: vermilion, dark enough to print."""
BAND = "#E8A87C"
SECOND = "#0060A8"
GREY = "#777777"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
AXIS = {
    "n": "parameters N",
    "d": "training tokens D",
    "c": "training compute C (FLOPs)",
    "loss": "held-out loss (nats)",
}
# Matplotlib types the keys one by one, and differently in each version.
RC: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "grid.linewidth": 0.4,
    "grid.color": "#DDDDDD",
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 5.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 160,
    "svg.hashsalt": "scaling",
    "svg.fonttype": "path",
}
Colour = tuple[float, float, float, float]
P = ParamSpec("P")


def styled(function: Callable[P, Figure]) -> Callable[P, Figure]:
    """The function under the house style; matplotlib's own state stays as it is."""

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context(RC):
            return function(*args, **kwargs)

    return wrapper


def panels(
    count: int = 1, *, width: float = 5.6, height: float = 3.9, columns: int = 4
) -> tuple[Figure, list[Axes]]:
    """A figure with panels, filled row by row; sizes in inches of one panel.

    Args:
        count: of panels.
        width, height: of one panel, inches.
        columns: panels side by side at most.
    """
    columns = min(count, columns)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows))
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in axes[count:]:
        spare.set_axis_off()
    return figure, axes[:count]


class Shades:
    """Ordered colour and marker for values on a logarithmic scale, e.g. sizes N."""

    def __init__(self, values: ArrayLike) -> None:
        scale = np.asarray(values, np.float64)
        low, high = float(scale.min()), float(scale.max())
        self.norm = LogNorm(low, high if high > low else low * 1.01)
        self.order = np.unique(scale)

    def colour(self, value: float) -> Colour:
        """The colour of a value: dark for the smallest to light, but never pale."""
        return mpl.colormaps["viridis"](0.9 * float(self.norm(value)))

    def marker(self, value: float) -> str:
        """A marker that changes from one value to the next; one for all if many."""
        if len(self.order) > len(MARKERS):
            return "o"
        return MARKERS[int(np.searchsorted(self.order, value)) % len(MARKERS)]

    def bar(self, figure: Figure, ax: Axes, label: str) -> None:
        """Add the colour bar that explains the colours."""
        colours = mpl.colormaps["viridis"](np.linspace(0, 0.9, 256))
        cmap = mpl.colors.ListedColormap(colours)
        mappable = mpl.cm.ScalarMappable(norm=self.norm, cmap=cmap)
        bar = figure.colorbar(mappable, ax=ax, pad=0.02, aspect=30)
        bar.set_label(label)
        bar.outline.set_linewidth(0.4)


def log_axis(ax: Axes, which: Literal["x", "y"], values: np.ndarray) -> None:
    """A logarithmic axis; over less than two decades with plain numbers at 1, 2, 5."""
    ax.set(**{f"{which}scale": "log"})
    if values.max() / values.min() < 100:
        axis = ax.xaxis if which == "x" else ax.yaxis
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda v, _: power_of_ten_or_plain(v)))
        axis.set_minor_formatter(NullFormatter())


def power_of_ten_or_plain(value: float) -> str:
    """The shorter text of a number: 0.5, 20 or 2×10¹¹."""
    return f"{value:g}" if 1e-3 <= value < 1e4 else power_of_ten(value)


def log_loss_axis(ax: Axes) -> None:
    """A logarithmic loss axis with plain numbers at enough ticks to read values off."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    if high / low < 12:
        ticks = _round_ticks(low, high)
        ax.set_yticks(ticks)
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.yaxis.set_minor_locator(LogLocator(subs=()))
    ax.yaxis.set_minor_formatter(NullFormatter())


def _round_ticks(low: float, high: float) -> list[float]:
    """About six round numbers evenly spread over the logarithm of the range."""
    ticks: list[float] = []
    for target in np.geomspace(low, high, 8)[1:-1]:
        step = 10 ** np.floor(np.log10(target * np.log(high / low) / 7))
        value = float(np.round(target / step) * step)
        value = float(f"{value:.12g}")
        if low <= value <= high and value not in ticks:
            ticks.append(value)
    return ticks


def thin(count: int, most: int) -> np.ndarray:
    """Indices of at most `most` of `count` points, evenly spread, ends included."""
    if count <= most:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, most).round().astype(int))


def power_of_ten(value: float) -> str:
    """A short number for labels: 1.2e+15 becomes 1.2×10¹⁵."""
    mantissa, power = f"{value:.1e}".split("e")
    superscript = str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa.removesuffix('.0')}×10{superscript}"
