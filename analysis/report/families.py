"""The part of a page that shows families side by side."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from analysis.optimal.families import Curve, equal_compute
from analysis.report.html import html_table

TITLES = {"n": "parameters", "d": "data", "c": "compute"}
MEASURES = {"loss": "Held-out loss (nats)", "error": "Held-out error (1 - accuracy)"}


def families_section(curves: Sequence[Curve]) -> str:
    """Exponents of every family along every scale, and their meeting at equal C."""
    if not curves:
        return ""
    parts = [_table(curves, measure) for measure in _measures(curves)]
    parts += [_at_equal_compute(curves, measure) for measure in _measures(curves)]
    note = (
        '<p class="note">Parameters: at full data. Data: at the largest model, every '
        "example or token counted once. Compute: along the frontier, the runs that "
        "nothing cheaper beats. Exponents c of b x^-c, and of E + b x^-c where there "
        "are five different scales or more.</p>"
    )
    return "".join([*parts, note])


def _measures(curves: Sequence[Curve]) -> list[str]:
    return list(dict.fromkeys(c.measure for c in curves))


def _table(curves: Sequence[Curve], measure: str) -> str:
    rows = []
    for curve in curves:
        if curve.measure != measure:
            continue
        cells = [
            _constant(curve, "power", "c"),
            _constant(curve, "power_constant", "c"),
        ]
        cells.append(_constant(curve, "power_constant", "E"))
        span = f"{curve.x.min():.3g} to {curve.x.max():.3g}"
        best = float(curve.y.min())
        rows.append(
            (curve.family, TITLES[curve.axis], len(curve.x), span, best, *cells)
        )
    head = ["family", "scale", "runs", "from … to", "lowest", "exponent c"]
    head += ["c above a floor", "floor E"]
    return f"<h3>{escape(MEASURES[measure])}</h3>{html_table(head, rows)}"


def _constant(curve: Curve, law: str, name: str) -> str:
    fit = curve.fits.get(law)
    if fit is None:
        return "–"
    low, high = fit.intervals[name]
    return f"{fit.constants[name]:.3f} [{low:.3f}, {high:.3f}]"


def _at_equal_compute(curves: Sequence[Curve], measure: str) -> str:
    met = equal_compute(tuple(curves), measure)
    if met is None:
        return ""
    rows = [
        (
            family,
            *(
                f"{value:.3g} [{low:.3g}, {high:.3g}]"
                for value, low, high in zip(*band, strict=True)
            ),
        )
        for family, band in met.reached.items()
    ]
    head = ("family", *(f"C = {c:.3g}" for c in met.budgets))
    return (
        f"<h3>{escape(MEASURES[measure])} at equal compute</h3>{html_table(head, rows)}"
    )
