"""Estimators of compute-optimal scaling (Hoffmann et al. 2022, approaches 1 to 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.errors import AnalysisError
from analysis.tables.table import Table

BUDGET_TOLERANCE = 0.1  # rows whose c differs by less than 10 % share a budget


@dataclass(frozen=True, kw_only=True, slots=True)
class Parabola:
    """Loss against size along one compute budget: loss = p0 + p1 u + p2 u², u = ln n.

    Attributes:
        compute: the budget C in FLOPs (median over its rows).
        n, loss: the rows, ordered by n (parameters, nats).
        coefficients: (p0, p1, p2), u measured from `centre`.
        centre: mean ln n of the rows.
        n_star, loss_star: size and loss at the minimum; NaN without one.
        d_star: tokens that spend the budget at `n_star`.
        edge: why the minimum is not to be trusted: "" when it is.
    """

    compute: float
    n: tuple[float, ...]
    loss: tuple[float, ...]
    coefficients: tuple[float, float, float]
    centre: float
    n_star: float
    d_star: float
    loss_star: float
    edge: str

    def at(self, n: np.ndarray) -> np.ndarray:
        """Loss (nats) of the parabola at sizes n."""
        u = np.log(n) - self.centre
        p0, p1, p2 = self.coefficients
        return np.asarray(p0 + p1 * u + p2 * u * u)


@dataclass(frozen=True, kw_only=True, slots=True)
class PowerOfCompute:
    """quantity = coefficient · C^exponent, fitted in logs.

    Attributes:
        exponent, coefficient: of the least-squares line through the logarithms.
        interval: of the exponent; NaN when there are too few points.
        points: number of minima used.
    """

    exponent: float
    coefficient: float
    interval: tuple[float, float]
    points: int

    def at(self, compute: np.ndarray) -> np.ndarray:
        """The quantity at budgets C (FLOPs)."""
        return np.asarray(self.coefficient * np.asarray(compute) ** self.exponent)


@dataclass(frozen=True, kw_only=True, slots=True)
class IsoFlop:
    """Approach 2: parabolas along each budget and the power laws through their minima.

    Attributes:
        parabolas: one per budget, cheapest first.
        n_star, d_star: N*(C) and D*(C) through the minima that are not at an edge;
            None with fewer than two of them.
        noise: pooled residual standard deviation of the parabolas (nats).
        notes: what a reader must know.
    """

    parabolas: tuple[Parabola, ...]
    n_star: PowerOfCompute | None
    d_star: PowerOfCompute | None
    noise: float
    notes: tuple[str, ...]


def budgets(table: Table, column: str | None = None) -> np.ndarray:
    """Label (rows,) of the compute budget of every row.

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


def isoflop(
    table: Table,
    *,
    budget: str | None = None,
    level: float = 0.95,
    replicas: int = 2000,
    seed: int = 0,
) -> IsoFlop:
    """Fit a parabola in ln n along each budget and N*, D* against C (approach 2).

    Intervals of the exponents come from a parametric bootstrap: new losses are drawn
    around the parabolas with their pooled residual standard deviation.

    Args:
        table: rows with roles n, c and loss.
        budget: column of the nominal budget (FLOPs); None groups rows whose C agree.
        level: coverage of the intervals.
        replicas: draws of the bootstrap.
        seed: of the draws.

    Raises:
        AnalysisError: no budget has three sizes.
    """
    labels = budgets(table, budget)
    n, d, c, loss = (table.values(k) for k in ("n", "d", "c", "loss"))
    groups = [np.flatnonzero(labels == x) for x in np.unique(labels)]
    used = [g for g in groups if len(np.unique(n[g])) >= 3]
    if not used:
        raise AnalysisError(
            "no compute budget has three sizes: isoFLOP curves need at least three "
            f"(budgets found: {len(groups)})"
        )
    used.sort(key=lambda g: float(np.median(c[g])))
    parabolas = [_parabola(n[g], d[g], c[g], loss[g]) for g in used]
    noise = _noise(parabolas)
    notes = [f"C = {p.compute:.3g} FLOPs: {p.edge}" for p in parabolas if p.edge]
    short = len(groups) - len(used)
    if short:
        notes.append(f"{short} budgets have fewer than three sizes and are not used")
    good = [p for p in parabolas if not p.edge]
    n_star = d_star = None
    if len(good) >= 2:
        draws = _draws(good, noise, replicas, seed)
        n_star = _power(
            [p.compute for p in good], [p.n_star for p in good], draws, level
        )
        rest = np.log([p.d_star * p.n_star for p in good]) - draws
        d_star = _power(
            [p.compute for p in good], [p.d_star for p in good], rest, level
        )
    else:
        notes.append(
            f"{len(good)} minima lie inside their grid: two are needed for an exponent"
        )
    return IsoFlop(
        parabolas=tuple(parabolas),
        n_star=n_star,
        d_star=d_star,
        noise=noise,
        notes=tuple(notes),
    )


def _parabola(
    n: np.ndarray, d: np.ndarray, c: np.ndarray, loss: np.ndarray
) -> Parabola:
    order = np.argsort(n)
    n, d, c, loss = n[order], d[order], c[order], loss[order]
    centre = float(np.log(n).mean())
    u = np.log(n) - centre
    p0, p1, p2 = np.linalg.lstsq(_quadratic(u), loss, rcond=None)[0]
    u_star = -p1 / (2 * p2) if p2 > 0 else np.nan
    n_star = float(np.exp(centre + u_star))
    # C / (n d) drifts with n (attention, embeddings): read d off the rows themselves.
    log_d = np.interp(centre + u_star, np.log(n), np.log(d * n / c))
    compute = float(np.median(c))
    return Parabola(
        compute=compute,
        n=tuple(n.tolist()),
        loss=tuple(loss.tolist()),
        coefficients=(float(p0), float(p1), float(p2)),
        centre=centre,
        n_star=n_star,
        d_star=float(np.exp(log_d) * compute / n_star),
        loss_star=float(p0 + p1 * u_star + p2 * u_star**2),
        edge=_edge(n, loss, n_star),
    )


def _quadratic(u: np.ndarray) -> np.ndarray:
    return np.stack([np.ones_like(u), u, u * u], axis=-1)


def _edge(n: np.ndarray, loss: np.ndarray, n_star: float) -> str:
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


def _noise(parabolas: Sequence[Parabola]) -> float:
    """Pooled residual standard deviation; NaN when every curve has three rows."""
    squares = sum(
        float(np.sum((np.array(p.loss) - p.at(np.array(p.n))) ** 2)) for p in parabolas
    )
    spare = sum(len(p.n) - 3 for p in parabolas)
    return float(np.sqrt(squares / spare)) if spare > 0 else float("nan")


def _draws(
    parabolas: Sequence[Parabola], noise: float, replicas: int, seed: int
) -> np.ndarray:
    """ln N* of refitted parabolas under drawn noise: (replicas, budgets)."""
    rng = np.random.default_rng(seed)
    columns = []
    for p in parabolas:
        u = np.log(p.n) - p.centre
        drawn = p.at(np.array(p.n)) + noise * rng.standard_normal((replicas, len(u)))
        _, p1, p2 = np.linalg.pinv(_quadratic(u)) @ drawn.T
        # A draw that bends downwards has no minimum: NaN, left out of the quantiles.
        columns.append(p.centre - p1 / (2 * np.where(p2 > 0, p2, np.nan)))
    return np.stack(columns, axis=1)


def _power(
    compute: Sequence[float], value: Sequence[float], draws: np.ndarray, level: float
) -> PowerOfCompute:
    u = np.log(compute)
    slope, intercept = np.polyfit(u, np.log(value), 1)
    slopes = draws @ ((u - u.mean()) / np.sum((u - u.mean()) ** 2))
    low, high = float("nan"), float("nan")
    if np.isfinite(slopes).any():
        tail = (1 - level) / 2
        low, high = np.nanquantile(slopes, [tail, 1 - tail])
    return PowerOfCompute(
        exponent=float(slope),
        coefficient=float(np.exp(intercept)),
        interval=(float(low), float(high)),
        points=len(compute),
    )
