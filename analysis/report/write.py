"""Writes the report of a store: fits.json and a folder of HTML and figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure

from analysis.plots.save import save_figure
from analysis.report.collect import collect
from analysis.report.figures import Material, figures
from analysis.report.findings import Picture, load_findings, save_findings
from analysis.report.page import page
from analysis.report.store import Store, read_store
from analysis.tables.plain import write_text
from analysis.uncertainty.units import Bootstrap


def write_report(
    store: str | Path, bootstrap: Bootstrap | None = None, *, replicas: int = 1000
) -> Path:
    """Fit a store and write `fits.json` and `report/` into it.

    Args:
        store: the results folder.
        bootstrap: of the intervals; of the kind that suits the rows when None.
        replicas: draws of that one.

    Returns:
        The path of `report/index.html`, which opens without a server.

    Raises:
        AnalysisError: the store has no finished run.
    """
    rows = read_store(store)
    advised = Bootstrap(kind=rows.advice.kind, replicas=replicas)
    findings, drawn = collect(rows, bootstrap or advised)
    material = Material(store=rows, findings=findings, drawn=drawn)
    pictures = _draw(material, rows.path / "report")
    save_findings(replace(findings, pictures=pictures), rows.path, rows.runs)
    return _write_page(rows)


def write_page(store: str | Path) -> Path:
    """Write `report/index.html` from the runs, the question and `fits.json`.

    Returns:
        The path of the page.

    Raises:
        AnalysisError: the store has no finished run, or no fits of a report.
    """
    return _write_page(read_store(store))


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


def _draw(material: Material, folder: Path) -> tuple[Picture, ...]:
    folder.mkdir(exist_ok=True)
    return tuple(
        replace(picture, shown=save_figure(figure, folder, picture.name))
        for picture, figure in figures(material)
    )


def _write_page(store: Store) -> Path:
    path = store.path / "report" / "index.html"
    # The page of a new fit is made from what fits.json holds, as any later one.
    write_text(path, page(store, load_findings(store.path)))
    return path
