"""Writes the report of a store: fits.json and a folder of HTML and figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from analysis import plots
from analysis.plots.style import RC
from analysis.published.frontiers import HOFFMANN_2022, KAPLAN_2020
from analysis.report.findings import Picture, save_findings
from analysis.report.page import page
from analysis.report.study import Drawn, Study, fit_store, read_study
from analysis.tables.plain import write_text
from analysis.uncertainty.units import Bootstrap

PUBLISHED = (HOFFMANN_2022, KAPLAN_2020)
CHINCHILLA_PAIRS = (("A", "alpha"), ("B", "beta"), ("E", "alpha"), ("alpha", "beta"))
SVG_LIMIT = 300_000  # bytes; beyond it the page shows the PNG alone


def write_report(store: str | Path, bootstrap: Bootstrap | None = None) -> Path:
    """Fit a store and write `fits.json` and `report/` into it.

    Args:
        store: the results folder.
        bootstrap: of the intervals; the kind that suits the rows when None.

    Returns:
        The path of `report/index.html`, which opens without a server.

    Raises:
        AnalysisError: the store has no finished run.
    """
    path = Path(store)
    found, drawn = fit_store(path, bootstrap)
    folder = path / "report"
    folder.mkdir(exist_ok=True)
    pictures = tuple(
        save_figure(figure, folder, name, caption)
        for name, caption, figure in figures(found, drawn)
    )
    save_findings(replace(found.findings, pictures=pictures), path)
    return write_page(path)


def write_page(store: str | Path) -> Path:
    """Write `report/index.html` from the runs, the question and `fits.json`.

    Raises:
        AnalysisError: the store has no finished run, or no fits of a report.
    """
    path = Path(store) / "report" / "index.html"
    write_text(path, page(read_study(store)))
    return path


NamedFigure = tuple[str, str, Figure]


def figures(found: Study, drawn: Drawn) -> list[NamedFigure]:
    """(file name, caption, figure) of every figure that the rows allow."""
    made = (
        _families(found),
        _measured(found, drawn),
        _tuned(found),
        _fitted(found),
        _optimal(found, drawn),
        _uncertain(found, drawn),
    )
    return [named for part in made for named in part]


def _families(found: Study) -> Iterator[NamedFigure]:
    for measure in dict.fromkeys(c.measure for c in found.findings.families):
        yield (
            f"families_{measure}",
            f"Held-out {measure} of each family: against parameters at full data, "
            "against data at the largest model, and along its frontier of compute. "
            "Lines: E + b x^-c, or b x^-c where there are fewer than five scales; "
            "shaded: the interval of the law.",
            plots.family_scaling(found.findings.families, measure),
        )
    if found.findings.families:
        yield (
            "families_exponents",
            "Exponents of the plain power law b x^-c of each family along each scale.",
            plots.family_exponents(found.findings.families),
        )


def _measured(found: Study, drawn: Drawn) -> Iterator[NamedFigure]:
    yield (
        "loss_compute",
        "Held-out loss against training compute. The line is the lowest loss that "
        "the fitted law allows at each budget, dotted beyond the largest run.",
        plots.loss_against_compute(found.table, found.main_fit, drawn.metrics),
    )
    if drawn.metrics is not None:
        yield (
            "training",
            "Held-out loss during training.",
            plots.training_curves(drawn.metrics, found.table),
        )
    if drawn.isoflop is not None:
        yield (
            "isoflop",
            "Loss against model size along each compute budget, with parabolas in "
            "ln N and their minima.",
            plots.isoflop_curves(drawn.isoflop),
        )


def _tuned(found: Study) -> Iterator[NamedFigure]:
    for own in found.rates:
        suffix = f"_{own.family}" if own.family else ""
        of = f" ({own.family})" if own.family else ""
        yield (
            f"rates{suffix}",
            f"Loss against learning rate at each tuned point{of}, with the parabolas "
            "around the best rates and the minima that the fits use.",
            plots.loss_against_rate(own.curves),
        )
        if own.rule is not None:
            yield (
                f"rate_rule{suffix}",
                f"The best learning rates against size{of}, and the rule through them.",
                plots.rates_against_size(own.curves, own.rule),
            )


def _fitted(found: Study) -> Iterator[NamedFigure]:
    if found.main_fit is not None:
        yield (
            "law",
            "The fitted law: contours of loss with the runs, the law at single "
            "sizes, and the residuals.",
            plots.law_surface(found.main_fit, found.table),
        )
    if found.findings.held_out:
        yield (
            "rollout",
            "Prediction beyond the fitted budgets: each law is fitted to the runs up "
            "to a cutoff and predicts those above it.",
            plots.rollout_errors(found.findings.held_out),
        )


def _optimal(found: Study, drawn: Drawn) -> Iterator[NamedFigure]:
    fit = found.main_fit
    if fit is not None:
        yield (
            "optimal",
            "Compute-optimal parameters and tokens, up to ten times the largest "
            "budget, beside two published laws (of other data and other counts).",
            plots.optimal_allocation(
                fit.recipe.scale_range["c"], fit, drawn.isoflop, PUBLISHED
            ),
        )
    if any(e.found for e in found.findings.exponents):
        yield (
            "exponents",
            "The exponent of N* against C by every estimator under every way to "
            "count parameters. Grey: exponents of the literature.",
            plots.exponent_comparison(found.findings.exponents),
        )


def _uncertain(found: Study, drawn: Drawn) -> Iterator[NamedFigure]:
    if drawn.profiles:
        yield (
            "profiles",
            "Profile likelihoods: the rise of the objective when one constant is held "
            "and the others are fitted again. The interval ends at the dashed line. It "
            "takes rows as independent: too narrow where they share a trunk.",
            plots.profiles(drawn.profiles),
        )
    if found.main_fit is not None:
        yield (
            "bootstrap",
            "Bootstrap draws of pairs of constants: where a cloud is a ridge, only a "
            "combination of the two is known.",
            plots.bootstrap_pairs(found.main_fit, CHINCHILLA_PAIRS),
        )


def save_figure(figure: Figure, folder: Path, name: str, caption: str) -> Picture:
    """Write PNG and SVG; the page shows the SVG unless it is too large.

    Args:
        figure: to be written.
        folder: of the report.
        name: of the files, without ending.
        caption: one or two sentences.
    """
    with mpl.rc_context(RC):
        figure.savefig(folder / f"{name}.png", metadata={"Software": None})
        figure.set_layout_engine("none")  # the layout is found: keep it
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    small = (folder / f"{name}.svg").stat().st_size <= SVG_LIMIT
    shown = f"{name}.svg" if small else f"{name}.png"
    return Picture(shown=shown, png=f"{name}.png", svg=f"{name}.svg", caption=caption)
