"""The parabolas of loss in ln n along each compute budget, with their minima."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.errors import AnalysisError
from analysis.laws.arrays import FloatArray
from analysis.optimal.frontier import BUDGET_TOLERANCE
from analysis.tables.table import Table

LEAST_SIZES = 3
"""The different sizes that a parabola needs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parabola:
    """Loss against size along one compute budget: loss = p0 + p1 u + p2 u², u = ln n.

    Attributes:
        compute: the budget C in FLOPs (median over its rows).
        rows: indices of its rows in the table, ordered by n.
        n, loss: sizes and losses of those rows (parameters, nats).
        coefficients: (p0, p1, p2), u measured from `centre`.
        centre: mean ln n of the rows.
        n_star, loss_star: size and loss at the minimum; NaN without one.
        d_star: tokens that spend the budget at `n_star`.
        edge: why the minimum is not to be trusted: "" when it is.
    """

    compute: float
    rows: tuple[int, ...]
    n: tuple[float, ...]
    loss: tuple[float, ...]
    coefficients: tuple[float, float, float]
    centre: float
    n_star: float
    d_star: float
    loss_star: float
    edge: str

    def at(self, n: np.ndarray) -> np.ndarray:
        """The loss (nats) of the parabola at sizes n."""
        u = np.log(n) - self.centre
        p0, p1, p2 = self.coefficients
        return np.asarray(p0 + p1 * u + p2 * u * u)


def budgets(table: Table, column: str | None = None) -> np.ndarray:
    """The label (rows,) of the compute budget of every row.

    Args:
        table: rows with a role c.
        column: the column that holds the nominal budget. Without it rows are sorted by
            c and a new budget starts where c rises by more than 10 %.
    """
    if column is not None:
        return table.with_columns(budget=column).values("budget")
    log_c = np.log(table.values("c"))
    order = np.argsort(log_c)
    jumps = np.diff(log_c[order]) > np.log1p(BUDGET_TOLERANCE)
    labels = np.empty(len(table))
    labels[order] = np.concatenate([[0], np.cumsum(jumps)])
    return labels


def fit_parabolas(table: Table, budget: str | None = None) -> tuple[Parabola, ...]:
    """The parabola of every budget with three sizes or more, cheapest first.

    Raises:
        AnalysisError: no budget has three sizes.
    """
    labels, n = budgets(table, budget), table.values("n")
    groups = [np.flatnonzero(labels == x) for x in np.unique(labels)]
    used = [g for g in groups if len(np.unique(n[g])) >= LEAST_SIZES]
    if not used:
        raise AnalysisError(
            "no compute budget has three sizes: isoFLOP curves need at least three "
            f"(budgets found: {len(groups)})"
        )
    parabolas = [_parabola(table, rows[np.argsort(n[rows])]) for rows in used]
    return tuple(sorted(parabolas, key=lambda p: p.compute))


def pooled_noise(parabolas: Sequence[Parabola]) -> float:
    """The pooled residual standard deviation (nats); NaN without spare rows."""
    squares = sum(
        float(np.sum((np.array(p.loss) - p.at(np.array(p.n))) ** 2)) for p in parabolas
    )
    spare = sum(len(p.n) - 3 for p in parabolas)
    return float(np.sqrt(squares / spare)) if spare > 0 else float("nan")


def quadratic(u: FloatArray) -> FloatArray:
    """The design (rows, 3) of a parabola."""
    return np.stack([np.ones_like(u), u, u * u], axis=-1)


def _parabola(table: Table, rows: np.ndarray) -> Parabola:
    """The parabola through the rows of one budget, which are ordered by n."""
    n, d, c, loss = (table.values(k)[rows] for k in ("n", "d", "c", "loss"))
    centre = float(np.log(n).mean())
    u = np.log(n) - centre
    p0, p1, p2 = np.linalg.lstsq(quadratic(u), loss, rcond=None)[0]
    u_star = -p1 / (2 * p2) if p2 > 0 else np.nan
    n_star = float(np.exp(centre + u_star))
    # C / (n d) drifts with n (attention, embeddings): read d off the rows themselves.
    log_d = np.interp(centre + u_star, np.log(n), np.log(d * n / c))
    compute = float(np.median(c))
    return Parabola(
        compute=compute,
        rows=tuple(rows.tolist()),
        n=tuple(n.tolist()),
        loss=tuple(loss.tolist()),
        coefficients=(float(p0), float(p1), float(p2)),
        centre=centre,
        n_star=n_star,
        d_star=float(np.exp(log_d) * compute / n_star),
        loss_star=float(p0 + p1 * u_star + p2 * u_star**2),
        edge=_edge(n, loss, n_star),
    )


def _edge(n: np.ndarray, loss: np.ndarray, n_star: float) -> str:
    """The reason why a minimum is not to be trusted; "" when it is."""
    if not np.isfinite(n_star):
        return "the curve has no minimum (it bends downwards); add sizes"
    if n_star <= n[0]:
        return f"the minimum is below the smallest size {n[0]:.3g}; add smaller sizes"
    if n_star >= n[-1]:
        return f"the minimum is above the largest size {n[-1]:.3g}; add larger sizes"
    best = n[np.argmin(loss)]
    if best in (n[0], n[-1]):
        side = "smallest" if best == n[0] else "largest"
        return f"the {side} size {best:.3g} is the best one; add sizes beyond it"
    return ""
