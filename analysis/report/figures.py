"""The figures of a report: what each shows, in a sentence and as a plot.

A figure is a function of the store, its findings and what only figures need. It gives
one plot for each subject that the rows allow, so a report has the figures that it can
have. Captions stand here alone: a page asks for them when it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from matplotlib.figure import Figure

from analysis import plots
from analysis.fitting.record import Fit
from analysis.optimal.published_frontiers import HOFFMANN_2022, KAPLAN_2020
from analysis.report.collect import Drawn
from analysis.report.findings import Findings, Picture
from analysis.report.store import Store

PUBLISHED = (HOFFMANN_2022, KAPLAN_2020)
CHINCHILLA_PAIRS = (("A", "alpha"), ("B", "beta"), ("E", "alpha"), ("alpha", "beta"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """The store, its findings, and what only figures need of them."""

    store: Store
    findings: Findings
    drawn: Drawn

    @property
    def main_fit(self) -> Fit | None:
        """The fit under the default convention."""
        return main_fit(self.store, self.findings)


def main_fit(store: Store, findings: Findings) -> Fit | None:
    """The fit under the default convention of a store."""
    return findings.fits.get(store.table.columns["n"])


Draw = Callable[[Material], Iterator[tuple[str, Figure]]]
_FIGURES: dict[str, tuple[str, Draw]] = {}


def _shows(caption: str) -> Callable[[Draw], Draw]:
    """Register a figure under its function's name.

    Args:
        caption: one or two sentences; {subject} stands for the subject, {of} for the
            subject in brackets, or for nothing where there is one alone.
    """

    def register(draw: Draw) -> Draw:
        _FIGURES[draw.__name__] = (caption, draw)
        return draw

    return register


def figures(material: Material) -> Iterator[tuple[Picture, Figure]]:
    """Every figure that the rows allow, in the order of the page."""
    for name, (_, draw) in _FIGURES.items():
        for subject, figure in draw(material):
            yield Picture(figure=name, subject=subject), figure


def caption(picture: Picture) -> str:
    """One or two sentences on what a figure shows."""
    text, _ = _FIGURES[picture.figure]
    of = f" ({picture.subject})" if picture.subject else ""
    return text.format(subject=picture.subject, of=of)


@_shows(
    "Held-out {subject} of each family: against parameters at full data, against data "
    "at the largest model, and along its frontier of compute. Lines: E + b x^-c, or "
    "b x^-c where there are fewer than five scales; shaded: the interval of the law."
)
def families(material: Material) -> Iterator[tuple[str, Figure]]:
    """The curves of each family, one plot for each measure."""
    curves = material.findings.families
    for measure in dict.fromkeys(c.measure for c in curves):
        yield measure, plots.family_scaling(curves, measure)


@_shows("Exponents of the plain power law b x^-c of each family along each scale.")
def families_exponents(material: Material) -> Iterator[tuple[str, Figure]]:
    """The exponents of each family, where there are several."""
    if material.findings.families:
        yield "", plots.family_exponents(material.findings.families)


@_shows(
    "Held-out loss against training compute. The line is the lowest loss that the "
    "fitted law allows at each budget, dotted beyond the largest run."
)
def loss_compute(material: Material) -> Iterator[tuple[str, Figure]]:
    """The rows against compute, with the frontier of the main fit."""
    table, metrics = material.store.table, material.drawn.metrics
    yield "", plots.loss_against_compute(table, material.main_fit, metrics)


@_shows("Held-out loss during training.")
def training(material: Material) -> Iterator[tuple[str, Figure]]:
    """The training curves, where the store has their rows."""
    if material.drawn.metrics is not None:
        yield "", plots.training_curves(material.drawn.metrics, material.store.table)


@_shows(
    "Loss against model size along each compute budget, with parabolas in ln N and "
    "their minima."
)
def isoflop(material: Material) -> Iterator[tuple[str, Figure]]:
    """The isoFLOP curves, where the rows have minima along them."""
    if material.drawn.isoflop is not None:
        yield "", plots.isoflop_curves(material.drawn.isoflop)


@_shows(
    "Loss against learning rate at each tuned point{of}, with the parabolas around the "
    "best rates and the minima that the fits use."
)
def rates(material: Material) -> Iterator[tuple[str, Figure]]:
    """The tuned points, one plot for each family of a tuned sweep."""
    for summary in material.store.tuning:
        yield summary.family, plots.loss_against_rate(summary.curves)


@_shows("The best learning rates against size{of}, and the rule through them.")
def rate_rule(material: Material) -> Iterator[tuple[str, Figure]]:
    """The learning rate rule, one plot for each family that has one."""
    for summary in material.store.tuning:
        if summary.rule is not None:
            plot = plots.rates_against_size(summary.curves, summary.rule)
            yield summary.family, plot


@_shows(
    "The fitted law: contours of loss with the runs, the law at single sizes, and the "
    "residuals."
)
def law(material: Material) -> Iterator[tuple[str, Figure]]:
    """The surface of the main fit, where there is one."""
    if material.main_fit is not None:
        yield "", plots.law_surface(material.main_fit, material.store.table)


@_shows(
    "Prediction beyond the fitted budgets: each law is fitted to the runs up to a "
    "cutoff and predicts those above it."
)
def rollout(material: Material) -> Iterator[tuple[str, Figure]]:
    """The errors beyond compute cutoffs, where laws were held out."""
    if material.findings.held_out:
        yield "", plots.rollout_errors(material.findings.held_out)


@_shows(
    "Compute-optimal parameters and tokens, up to ten times the largest budget, beside "
    "two published laws (of other data and other counts)."
)
def optimal(material: Material) -> Iterator[tuple[str, Figure]]:
    """The allocation by the main fit, where there is one."""
    fit = material.main_fit
    if fit is not None:
        trained = fit.provenance.scale_range["c"]
        minima = material.drawn.isoflop
        yield "", plots.optimal_allocation(trained, fit, minima, PUBLISHED)


@_shows(
    "The exponent of N* against C by every estimator under every way to count "
    "parameters. Dotted: exponents of the literature."
)
def exponents(material: Material) -> Iterator[tuple[str, Figure]]:
    """The exponents by estimator, where any is known."""
    if any(e.known for e in material.findings.exponents):
        yield "", plots.exponent_comparison(material.findings.exponents)


@_shows(
    "Profile likelihoods: the rise of the objective when one constant is held and the "
    "others are fitted again. The interval ends at the dashed line. It takes rows as "
    "independent: too narrow where they share a trunk."
)
def profiles(material: Material) -> Iterator[tuple[str, Figure]]:
    """The profiles of the main fit's constants, where they were drawn."""
    if material.drawn.profiles:
        yield "", plots.profiles(material.drawn.profiles)


@_shows(
    "Bootstrap draws of pairs of constants: where a cloud is a ridge, only a "
    "combination of the two is known."
)
def bootstrap(material: Material) -> Iterator[tuple[str, Figure]]:
    """The draws of the main fit's constants, where there are some."""
    if material.main_fit is not None and material.main_fit.replicas:
        yield "", plots.bootstrap_pairs(material.main_fit, CHINCHILLA_PAIRS)
