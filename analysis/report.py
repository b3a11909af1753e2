"""Writes the report of a store: fits.json and a folder of HTML and figures."""

from __future__ import annotations

import os
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from analysis import plots
from analysis.page import Picture, page
from analysis.plots.style import RC
from analysis.records import dump_json
from analysis.resampling import BY_ROW, Bootstrap
from analysis.study import Study, study

SVG_LIMIT = 300_000  # bytes; beyond it the page shows the PNG alone


def write_report(
    store: str | Path, *, doc: str | None = None, bootstrap: Bootstrap = BY_ROW
) -> Path:
    """Fit a store and write `fits.json` and `report/` into it.

    Args:
        store: the results folder.
        doc: the question that the sweep asks; read from `sweeps/` when None.
        bootstrap: of the intervals.

    Returns:
        The path of `report/index.html`, which opens without a server.

    Raises:
        AnalysisError: the store has no finished run.
    """
    path = Path(store)
    found = study(path, doc=doc, bootstrap=bootstrap)
    folder = path / "report"
    folder.mkdir(exist_ok=True)
    pictures = [
        save_figure(figure, folder, name, caption)
        for name, caption, figure in figures(found)
    ]
    records = [f.to_json() for f in found.all_fits]
    write_text(path / "fits.json", dump_json(records) + "\n")
    write_text(folder / "index.html", page(found, pictures))
    return folder / "index.html"


def figures(found: Study) -> list[tuple[str, str, Figure]]:
    """(file name, caption, figure) of every figure that the rows allow."""
    fit, table = found.main_fit, found.table
    made = [
        (
            "loss_compute",
            "Held-out loss against training compute. The line is the lowest loss that "
            "the fitted law allows at each budget, dotted beyond the largest run.",
            plots.loss_against_compute(table, fit, found.metrics),
        )
    ]
    if found.isoflop is not None:
        made.append(
            (
                "isoflop",
                "Loss against model size along each compute budget, with parabolas in "
                "ln N and their minima.",
                plots.isoflop_curves(found.isoflop),
            )
        )
    if fit is not None:
        made.append(
            (
                "law",
                "The fitted law: contours of loss with the runs, the law at single "
                "sizes, and the residuals.",
                plots.law_surface(fit, table),
            )
        )
        c = fit.recipe.scale_range["c"]
        made.append(
            (
                "optimal",
                "Compute-optimal parameters and tokens, up to ten times the largest "
                "budget.",
                plots.optimal_allocation(c, fit, found.isoflop),
            )
        )
    if found.metrics is not None:
        made.append(
            (
                "training",
                "Held-out loss during training.",
                plots.training_curves(found.metrics, table),
            )
        )
    return made


def save_figure(figure: Figure, folder: Path, name: str, caption: str) -> Picture:
    """Write PNG and SVG; the page shows the SVG unless it is too large."""
    with mpl.rc_context(RC):
        figure.savefig(folder / f"{name}.png", metadata={"Software": None})
        figure.set_layout_engine("none")  # the layout is found: keep it
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    small = (folder / f"{name}.svg").stat().st_size <= SVG_LIMIT
    shown = f"{name}.svg" if small else f"{name}.png"
    return Picture(shown=shown, png=f"{name}.png", svg=f"{name}.svg", caption=caption)


def write_text(path: Path, text: str) -> None:
    """Replace a file whole, so that a reader never sees half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
