"""Writes figures: PNG for pages, SVG and PDF for papers."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image

from analysis.plots.style import RC

Format = Literal["png", "svg", "pdf"]
COLOURS = 256
"""Colours of a PNG: enough for lines and maps, and a third of the bytes of all."""
CSS_PIXELS_PER_INCH = 96
METADATA: dict[Format, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}
"""What would make the same figure another file tomorrow."""


def figure_bytes(figure: Figure, form: Format = "png") -> bytes:
    """The content of a file of a figure."""
    content = io.BytesIO()
    with mpl.rc_context(RC):
        figure.savefig(content, format=form, metadata=METADATA[form])
        # The layout is computed once: each further time it would shift a little.
        figure.set_layout_engine("none")
    return _with_fewer_colours(content) if form == "png" else content.getvalue()


def save_figure(figure: Figure, folder: Path, name: str, form: Format = "png") -> Path:
    """Write a figure to a file; returns its path.

    Args:
        figure: to be written.
        folder: where the file goes.
        name: of the file, without ending.
        form: of the file.
    """
    path = folder / f"{name}.{form}"
    path.write_bytes(figure_bytes(figure, form))
    return path


def shown_width(png: bytes) -> int:
    """The width in CSS pixels at which a PNG has the size that it was drawn for."""
    pixels: int = Image.open(io.BytesIO(png)).size[0]
    dots_per_inch: int = RC["savefig.dpi"]
    return round(pixels * CSS_PIXELS_PER_INCH / dots_per_inch)


def _with_fewer_colours(png: io.BytesIO) -> bytes:
    small = io.BytesIO()
    image = Image.open(png).convert("RGB")
    method = Image.Quantize.MEDIANCUT
    image.quantize(COLOURS, method, dither=Image.Dither.NONE).save(
        small, "png", optimize=True
    )
    return small.getvalue()
