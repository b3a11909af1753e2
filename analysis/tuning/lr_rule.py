"""The rule LR* = k · N^n · D^d · B^batch through the minima of tuned points.

It is the rule that a sweep file writes as `harness.recipe.LearningRate`: here it is
fitted, there it is used, and `LrRule.line` is the one written for the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from analysis.errors import AnalysisError
from analysis.tables.columns import CONVENTIONS
from analysis.tuning.lr_curve import LrCurve

ROLES = ("n", "d", "batch")
NAMES = {"n": "N", "d": "D", "batch": "B"}
LEAST_RANGE = 1.1
"""A column whose greatest value is less than this times its least is one value."""
LEAST_OWN = 0.1
"""The least share of a column's spread that no other column may explain."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LrRule:
    """The fitted rule: least squares in logarithms, intervals of Student's t.

    Attributes:
        k: the factor.
        exponents: role -> exponent of N, D and B; 0 where it is fixed.
        intervals: of "k" and of the exponents that were fitted; empty without spare
            minima.
        fixed: role -> why its exponent was not fitted.
        points: number of minima used; flagged ones are not.
        scatter: standard deviation of ln LR* about the rule; NaN without spare minima.
        level: coverage of the intervals.
        notes: what a reader must know.
    """

    k: float
    exponents: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    fixed: Mapping[str, str]
    points: int
    scatter: float
    level: float
    notes: tuple[str, ...]

    @property
    def formula(self) -> str:
        """The rule as text, LR* = 0.02 · N^-0.25; fixed exponents are left out."""
        terms = [f"{NAMES[r]}^{e:.3g}" for r, e in self.exponents.items() if e]
        return " · ".join([f"LR* = {self.k:.4g}", *terms])

    def at(self, n: ArrayLike, d: ArrayLike, batch: ArrayLike) -> np.ndarray:
        """The learning rate for N parameters, D tokens and B examples a step."""
        scales = zip(self.exponents.values(), (n, d, batch), strict=True)
        powers = [np.asarray(x, np.float64) ** e for e, x in scales if e]
        return np.asarray(self.k * math.prod(powers))

    def line(self, convention: str) -> str:
        """The rule as a sweep file says it.

        Args:
            convention: the column that counts parameters.
        """
        terms = [f"k={self.k:.5g}"]
        terms += [f"{r}={e:.5g}" for r, e in self.exponents.items() if e]
        if convention in CONVENTIONS[1:] and self.exponents["n"]:
            terms.append(f'counted="{convention[2:]}"')
        return f"recipe.LearningRate({', '.join(terms)})"

    def rows(self) -> list[tuple[str, float, float, float, str]]:
        """The rows (constant, value, low, high, why it is fixed) of k and exponents."""
        unknown = (float("nan"), float("nan"))
        rows = [("k", self.k, *self.intervals.get("k", unknown), "")]
        for role, value in self.exponents.items():
            why = f"fixed: {self.fixed[role]}" if role in self.fixed else ""
            interval = self.intervals.get(role, unknown)
            rows.append((f"exponent of {NAMES[role]}", value, *interval, why))
        return rows

    def __str__(self) -> str:
        lines = [f"{self.formula}   from {self.points} minima"]
        if math.isfinite(self.scatter):
            lines[0] += f", which scatter by a factor of {math.exp(self.scatter):.3g}"
        for name, value, low, high, why in self.rows():
            interval = f"[{low:.4g}, {high:.4g}]" if math.isfinite(low) else ""
            lines.append(f"  {name:14} {value:<10.4g} {interval}{why}")
        return "\n".join(lines)


def fit_lr_rule(curves: Sequence[LrCurve], level: float = 0.95) -> LrRule:
    """The rule with the exponents that the minima identify; the others are 0.

    A column whose values are all about equal, or follow the columns before it, has no
    exponent of its own; neither is one fitted that would need more minima than there
    are. The intervals take the minima as independent.

    Args:
        curves: the points; those with a flag are not used.
        level: coverage of the intervals.

    Raises:
        AnalysisError: no point has a minimum between two rates.
    """
    used = [c for c in curves if not c.flag]
    if not used:
        raise AnalysisError(
            "no point has a minimum between two of its rates: a rule needs one"
        )
    logs = {role: np.log([getattr(c, role) for c in used]) for role in ROLES}
    design = np.ones((len(used), 1))
    free: list[str] = []
    fixed: dict[str, str] = {}
    for role in ROLES:
        if why := _not_identified(role, logs[role], design, free):
            fixed[role] = why
        else:
            design = np.column_stack([design, logs[role]])
            free.append(role)
    y = np.log([c.lr for c in used])
    theta = np.linalg.lstsq(design, y, rcond=None)[0]
    residual = y - design @ theta
    spare = len(used) - len(theta)
    scatter = float(np.sqrt(residual @ residual / spare)) if spare else float("nan")
    fitted = dict(zip(("k", *free), theta.tolist(), strict=True))
    intervals = _intervals(design, fitted, scatter, spare, level) if spare else {}
    return LrRule(
        k=math.exp(fitted["k"]),
        exponents={r: fitted.get(r, 0.0) for r in ROLES},
        intervals=intervals,
        fixed=fixed,
        points=len(used),
        scatter=scatter,
        level=level,
        notes=_notes(used, spare, "d" in free),
    )


def _not_identified(
    role: str, log: np.ndarray, design: np.ndarray, free: Sequence[str]
) -> str:
    """The reason why a column has no exponent of its own; "" when it has."""
    name = NAMES[role]
    if np.isnan(log).any():
        return f"no column of {name}"
    if np.ptp(log) <= math.log(LEAST_RANGE):
        return f"{name} is about {math.exp(log.mean()):.4g} at every minimum"
    slope = np.linalg.lstsq(design, log, rcond=None)[0]
    if np.std(log - design @ slope) < LEAST_OWN * np.std(log):
        others = " and ".join(NAMES[r] for r in free)
        return f"{name} follows {others}, whose exponent holds the effect of both"
    if len(log) < design.shape[1] + 1:
        return f"{len(log)} minima are too few for an exponent of {name} as well"
    return ""


def _intervals(
    design: np.ndarray,
    fitted: Mapping[str, float],
    scatter: float,
    spare: int,
    level: float,
) -> dict[str, tuple[float, float]]:
    """The intervals of k and the exponents; `fitted` holds ln k under "k"."""
    # By QR: the columns of logs are far from orthogonal to the constant.
    inverse = np.linalg.inv(np.linalg.qr(design, mode="r"))
    error = (
        scatter
        * np.sqrt(np.sum(inverse**2, axis=1))
        * -special.stdtrit(spare, (1 - level) / 2)
    )
    pairs = zip(fitted.items(), error.tolist(), strict=True)
    intervals = {name: (value - e, value + e) for (name, value), e in pairs}
    low, high = intervals.pop("k")
    return {"k": (math.exp(low), math.exp(high)), **intervals}


def _notes(used: Sequence[LrCurve], spare: int, by_d: bool) -> tuple[str, ...]:
    """The notes of a rule; `by_d` says whether it has an exponent of D."""
    if not spare:
        return ("as many constants as minima: the rule has no intervals",)
    if by_d and len({c.trunk for c in used}) < len(used):
        return (
            "minima that differ in D alone share trunks, so that their errors move "
            "together: the intervals, which take them as independent, are too narrow "
            "for N and B",
        )
    return ()
