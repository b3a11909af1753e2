"""Writes figures as PNG and SVG."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import matplotlib as mpl
from matplotlib.figure import Figure

from analysis.plots.style import RC

SVG_LIMIT = 300_000
"""Bytes; a larger SVG is too slow to show in a page."""
Format = Literal["png", "svg"]


def save_figure(figure: Figure, folder: Path, name: str) -> Format:
    """Write a figure as PNG and SVG; the format that suits a page is returned.

    Args:
        figure: to be written.
        folder: where the files go.
        name: of the files, without ending.

    Returns:
        "svg", unless that file is too large to be shown.
    """
    png, svg = (folder / f"{name}.{ending}" for ending in ("png", "svg"))
    with mpl.rc_context(RC):
        figure.savefig(png, metadata={"Software": None})
        figure.set_layout_engine("none")  # the layout is computed: keep it
        figure.savefig(svg, metadata={"Date": None})
    return "svg" if svg.stat().st_size <= SVG_LIMIT else "png"
