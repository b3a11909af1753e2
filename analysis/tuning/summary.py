"""What `harness tune` and the report of a tuned sweep say about learning rates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from analysis.errors import AnalysisError
from analysis.tables.plain import dump_json, to_json, write_text
from analysis.tuning.lr_curve import LrCurve
from analysis.tuning.lr_minima import LrCurves
from analysis.tuning.lr_rule import LrRule, fit_rate_rule

HEAD = ("N", "D", "B", "rates", "diverged", "LR*", "loss", "best run at", "flag")
PASTE = "for a sweep file, as recipe.tuned(points, RULE):"


@dataclass(frozen=True, kw_only=True, slots=True)
class TuningSummary:
    """The points of one family in a tuned sweep, and the rule through their minima.

    Attributes:
        family: of the models; "" where the sweep has one.
        curves: by N, D and B.
        rule: None where there is none.
        why_not: why there is no rule.
        convention: the column that counts parameters, "" without one.
    """

    family: str
    curves: tuple[LrCurve, ...]
    rule: LrRule | None
    why_not: str
    convention: str

    def rows(self) -> list[tuple[Any, ...]]:
        """The points as rows under `HEAD`."""
        return [
            (
                *(_whole(x) for x in (c.n, c.d, c.batch)),
                len(c.rates),
                len(c.diverged),
                *(c.lr, c.loss, c.lr_best),
                c.flag,
            )
            for c in self.curves
        ]

    def notes(self) -> list[str]:
        """What a reader must know, one sentence each."""
        flagged = [c for c in self.curves if c.flag]
        edges = sum(c.lr_at_edge for c in flagged)
        notes = [] if self.rule else [f"no rule of learning rates: {self.why_not}"]
        if flagged:
            notes.append(
                f"{len(flagged)} of {len(self.curves)} tuned points have no minimum "
                f"between two of their rates (at {edges} the first or the last rate is "
                "the best): their best run is kept, whose loss may be too high"
            )
        notes += self.rule.notes if self.rule else ()
        return [f"{self.family}: {x}" if self.family else x for x in notes]

    def line(self) -> str:
        """The rule as a line of a sweep file."""
        name = f"{self.family.upper()}_RULE" if self.family else "RULE"
        return f"{name} = {self.rule.line(self.convention)}" if self.rule else ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; what is not known is null."""
        rule = asdict(self.rule) if self.rule else None
        return {
            "family": self.family,
            "points": [_point(c) for c in self.curves],
            "rule": to_json(rule),
            "line": self.line(),
            "notes": self.notes(),
        }

    def __str__(self) -> str:
        form = "{:>12} {:>12} {:>6} {:>5} {:>8} {:>9} {:>9} {:>11}  {}"
        lines = [self.family, ""] if self.family else []
        lines.append(form.format(*HEAD))
        lines += [form.format(*map(_shown, row)) for row in self.rows()]
        if self.rule:
            lines += ["", str(self.rule), "", PASTE, self.line()]
        return "\n".join(lines + [f"WARNING {x}" for x in self.notes()])


def summarise_tuning(found: LrCurves, level: float = 0.95) -> tuple[TuningSummary, ...]:
    """The minima of the tuned points, and their rule: of each family by itself.

    Raises:
        AnalysisError: no point has two rates.
    """
    curves = found.tuned
    if not curves:
        raise AnalysisError(
            f"{found.table.source} has one learning rate at each of its "
            f"{len(found.curves)} points: give the sweep more, tune(points, lr=[…])"
        )
    families = sorted({c.family for c in curves})
    studies = []
    for family in families:
        own = tuple(c for c in curves if c.family == family)
        rule, why = _rule(own, level)
        studies.append(
            TuningSummary(
                family=family if len(families) > 1 else "",
                curves=own,
                rule=rule,
                why_not=why,
                convention=found.table.columns.get("n", ""),
            )
        )
    return tuple(studies)


def save_rates(studies: Sequence[TuningSummary], path: Path) -> None:
    """Write JSON, whole or not at all; `AnalysisError` where it cannot be."""
    try:
        write_text(path, dump_json([s.to_json() for s in studies]) + "\n")
    except OSError as error:
        raise AnalysisError(f"cannot write {path}: {error}") from None


def _rule(curves: Sequence[LrCurve], level: float) -> tuple[LrRule | None, str]:
    try:
        return fit_rate_rule(curves, level), ""
    except AnalysisError as error:
        return None, str(error)


def _point(curve: LrCurve) -> dict[str, Any]:
    inner = ("row", "trunk")  # of the table that was read
    kept = {k: v for k, v in asdict(curve).items() if k not in inner}
    plain: dict[str, Any] = to_json(kept)
    return plain


def _whole(value: float) -> float | int:
    """Counts are printed in full."""
    return int(value) if math.isfinite(value) and value == int(value) else value


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else "–"
    if isinstance(value, int):
        return f"{value:,}" if value < 10**9 else f"{value:.4g}"
    return str(value)
