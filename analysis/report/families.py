"""The tables of a page that show families side by side."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.optimal.families import POWER, WITH_FLOOR, Curve, EqualCompute
from analysis.report.grid import Grid
from analysis.tables.columns import ERROR, FAMILY, LOSS

SCALES = {"n": "parameters", "d": "data", "c": "compute"}
MEASURES = {LOSS: "Held-out loss (nats)", ERROR: "Held-out error (1 - accuracy)"}
HEAD = (FAMILY, "scale", "runs", "from … to", "lowest", "exponent c")
HEAD_WITH_FLOOR = (*HEAD, "c above a floor", "floor E")


def family_tables(
    curves: Sequence[Curve], shared: Sequence[EqualCompute]
) -> list[tuple[str, Grid]]:
    """Titles and tables: exponents of every family, then their losses at equal C."""
    measures = list(dict.fromkeys(c.measure for c in curves))
    tables = [(MEASURES[m], _exponents(curves, m)) for m in measures]
    for one in shared:
        tables.append((f"{MEASURES[one.measure]} at equal compute", _reached(one)))
    return tables


def _exponents(curves: Sequence[Curve], measure: str) -> Grid:
    rows = [
        (
            curve.family,
            SCALES[curve.axis],
            len(curve.x),
            f"{curve.x.min():.3g} to {curve.x.max():.3g}",
            float(curve.y.min()),
            _constant(curve, POWER, "c"),
            _constant(curve, WITH_FLOOR, "c"),
            _constant(curve, WITH_FLOOR, "E"),
        )
        for curve in curves
        if curve.measure == measure
    ]
    return Grid(HEAD_WITH_FLOOR, rows)


def _constant(curve: Curve, law: str, name: str) -> str:
    fit = curve.fits.get(law)
    if fit is None:
        return "–"
    low, high = fit.intervals[name]
    return f"{fit.constants[name]:.3f} [{low:.3f}, {high:.3f}]"


def _reached(shared: EqualCompute) -> Grid:
    rows = [
        (
            family,
            *(
                f"{value:.3g} [{low:.3g}, {high:.3g}]"
                for value, low, high in zip(*band, strict=True)
            ),
        )
        for family, band in shared.reached.items()
    ]
    return Grid((FAMILY, *(f"C = {c:.3g}" for c in shared.budgets)), rows)
