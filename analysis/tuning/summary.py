"""The learning rates of a tuned sweep, as `harness tune` and its report show them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from analysis.errors import AnalysisError
from analysis.tables.plain import JsonObject, dump_json, to_json, write_text
from analysis.tuning.lr_curve import LrCurve
from analysis.tuning.lr_minima import LrCurves
from analysis.tuning.lr_rule import LrRule, fit_lr_rule

Cell = float | str
"""An entry of the table of points; what is not known is NaN."""
HEAD = ("N", "D", "B", "rates", "diverged", "LR*", "loss", "best run at", "flag")
PASTE = "for a sweep file, as recipe.tuned(points, RULE):"


@dataclass(frozen=True, kw_only=True, slots=True)
class TuningSummary:
    """The points of one family in a tuned sweep, with the rule through their minima.

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

    def rows(self) -> list[tuple[Cell, ...]]:
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
        """The sentences that a reader must know."""
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
        """The rule as a line of a sweep file; "" without one."""
        name = f"{self.family.upper()}_RULE" if self.family else "RULE"
        return f"{name} = {self.rule.line(self.convention)}" if self.rule else ""

    def to_json(self) -> JsonObject:
        """The summary as plain JSON; what is not known is null."""
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


def summarise_tuning(
    points: LrCurves, level: float = 0.95
) -> tuple[TuningSummary, ...]:
    """The summaries of a tuned sweep: of each family by itself.

    Args:
        points: as `read_lr_curves` gives them.
        level: coverage of the rules' intervals.

    Raises:
        AnalysisError: no point has two rates.
    """
    curves = points.tuned
    if not curves:
        raise AnalysisError(
            f"{points.table.source} has one learning rate at each of its "
            f"{len(points.curves)} points: give the sweep more, tune(points, lr=[…])"
        )
    families = sorted({c.family for c in curves})
    summaries = []
    for family in families:
        of_family = tuple(c for c in curves if c.family == family)
        rule, why_not = _rule(of_family, level)
        summaries.append(
            TuningSummary(
                family=family if len(families) > 1 else "",
                curves=of_family,
                rule=rule,
                why_not=why_not,
                convention=points.table.columns.get("n", ""),
            )
        )
    return tuple(summaries)


def save_summaries(summaries: Sequence[TuningSummary], path: Path) -> None:
    """Write the summaries as JSON, whole or not at all.

    Raises:
        AnalysisError: the file cannot be written.
    """
    try:
        write_text(path, dump_json([s.to_json() for s in summaries]) + "\n")
    except OSError as error:
        raise AnalysisError(f"cannot write {path}: {error}") from None


def _rule(curves: Sequence[LrCurve], level: float) -> tuple[LrRule | None, str]:
    """The rule, or the reason why there is none."""
    try:
        return fit_lr_rule(curves, level), ""
    except AnalysisError as error:
        return None, str(error)


def _point(curve: LrCurve) -> JsonObject:
    """The point as plain JSON, without its places in the table that was read."""
    plain: JsonObject = to_json(asdict(curve))
    return {k: v for k, v in plain.items() if k not in ("row", "trunk")}


def _whole(value: float) -> float | int:
    """The value as an integer where it is a count, to be printed in full."""
    return int(value) if math.isfinite(value) and value == int(value) else value


def _shown(value: Cell) -> str:
    """The text of an entry of the table."""
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else "–"
    if isinstance(value, int):
        return f"{value:,}" if value < 10**9 else f"{value:.4g}"
    return str(value)
