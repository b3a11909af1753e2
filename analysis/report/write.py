"""Writes the report of a store: fits.json, FOUND.md, and a page with its figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure

from analysis.plots.save import Format, figure_bytes, save_figure
from analysis.report.collect import collect
from analysis.report.figures import Material, figures
from analysis.report.findings import Picture, load_findings, save_findings
from analysis.report.page import images_of, page
from analysis.report.sentences import found
from analysis.report.store import Store, read_store
from analysis.tables.plain import write_text
from analysis.uncertainty.units import Bootstrap

FOUND = "FOUND.md"
LEADING = ("isoflop", "rates", "families", "law", "loss_compute", "training")
"""The figures that say most, best first: the first that there is gets a file."""


def write_report(
    store: str | Path,
    bootstrap: Bootstrap | None = None,
    *,
    replicas: int = 1000,
    figures: Format | None = None,
) -> Path:
    """Fit a store and write `fits.json`, `FOUND.md` and `report/` into it.

    Args:
        store: the results folder.
        bootstrap: of the intervals; of the kind that suits the rows when None.
        replicas: draws of that one.
        figures: form in which every figure is also written to a file of its own.

    Returns:
        The path of `report/index.html`, which holds its figures and opens without a
        server.

    Raises:
        AnalysisError: the store has no finished run.
    """
    rows = read_store(store)
    advised = Bootstrap(kind=rows.advice.kind, replicas=replicas)
    findings, drawn = collect(rows, bootstrap or advised)
    material = Material(store=rows, findings=findings, drawn=drawn)
    pictures, images = _draw(material, figures)
    findings = replace(findings, pictures=pictures)
    save_findings(findings, rows.path, rows.runs)
    return _write(rows, images)


def write_page(store: str | Path) -> Path:
    """Write the page and `FOUND.md` from the runs, the question and `fits.json`.

    The page keeps the figures that it has.

    Returns:
        The path of the page.

    Raises:
        AnalysisError: the store has no finished run, or no fits of a report.
    """
    rows = read_store(store)
    return _write(rows, images_of(_present(rows.path)))


def draw_figure(
    store: str | Path, name: str, *, replicas: int = 1000
) -> tuple[Figure | None, list[str]]:
    """One figure of a report, drawn without writing anything.

    Args:
        store: the results folder.
        name: the figure's name, with its subject where there are several.
        replicas: draws of the bootstrap.

    Returns:
        The figure, or None if the rows allow none of this name; and the names of all.

    Raises:
        AnalysisError: the store has no finished run.
    """
    rows = read_store(store)
    findings, drawn = collect(rows, Bootstrap(kind=rows.advice.kind, replicas=replicas))
    material = Material(store=rows, findings=findings, drawn=drawn)
    by_name = {picture.name: figure for picture, figure in figures(material)}
    return by_name.get(name), list(by_name)


def _draw(
    material: Material, form: Format | None
) -> tuple[tuple[Picture, ...], dict[str, bytes]]:
    """The pictures of a report and their PNGs; the leading one goes into a file."""
    folder = material.store.path / "report"
    folder.mkdir(exist_ok=True)
    for stale in folder.iterdir():
        if stale.suffix in (".png", ".svg", ".pdf"):
            stale.unlink()
    pictures, images = [], {}
    for picture, figure in figures(material):
        pictures.append(picture)
        images[picture.name] = figure_bytes(figure)
        if form is not None:
            save_figure(figure, folder, picture.name, form)
    known = [picture for picture in pictures if picture.figure in LEADING]
    if known:
        leading = min(known, key=lambda picture: LEADING.index(picture.figure))
        (folder / "figure.png").write_bytes(images[leading.name])
    return tuple(pictures), images


def _present(store: Path) -> str:
    try:
        return (store / "report" / "index.html").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _write(store: Store, images: Mapping[str, bytes]) -> Path:
    path = store.path / "report" / "index.html"
    path.parent.mkdir(exist_ok=True)
    # What a new fit says is written from what fits.json holds, as later ones are.
    findings = load_findings(store.path)
    write_text(path, page(store, findings, images))
    write_text(store.path / FOUND, found(store, findings))
    return path
