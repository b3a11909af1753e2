"""Loss against learning rate at one point of a sweep, and its minimum.

Near the minimum the loss is a parabola in ln LR; the point keeps the vertex of the one
through the rates around the best. Without such a vertex the best run is kept, flagged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

WINDOW = 2.0
"""Rates within this factor of the best shape the parabola."""
MOST_GAIN = 0.05
"""A vertex that lies further below the best run, as a share of its loss, says that the
rates are too coarse."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LrMinimum:
    """The minimum of loss over learning rate, and the runs that it rests on.

    Attributes:
        rates: the rates tried, ascending.
        losses: nats, one per rate (the mean of its runs); NaN where one diverged.
        lr, loss: the minimum: the vertex, or the best run where `flag` says why.
        parabola: (p0, p1, p2) of loss = p0 + p1 u + p2 u², u = ln(rate / lr_best);
            None without one.
        lr_best: the rate of the best run.
        lr_at_edge: the best rate is the first or last of those tried.
        flag: why there is no vertex; "" when there is one.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    lr: float
    loss: float
    parabola: tuple[float, float, float] | None
    lr_best: float
    lr_at_edge: bool
    flag: str

    def at(self, rates: np.ndarray) -> np.ndarray:
        """The loss (nats) of the parabola at some rates."""
        assert self.parabola is not None
        return np.asarray(_parabola_at(self.parabola, np.log(rates / self.lr_best)))

    @property
    def diverged(self) -> tuple[float, ...]:
        """The rates at which a run diverged."""
        pairs = zip(self.rates, self.losses, strict=True)
        return tuple(rate for rate, loss in pairs if np.isnan(loss))


@dataclass(frozen=True, kw_only=True, slots=True)
class LrCurve(LrMinimum):
    """Final loss against learning rate at one point of a sweep.

    Attributes:
        family: of the models; "" without a column.
        n, d, batch: parameters, tokens, examples a step; NaN without a column.
        row: of the best run in the table; -1 when every run diverged.
        trunk: equal for points that differ in length alone.
        tuned: the sweep says that the rate of these runs is an inner axis.
    """

    family: str
    n: float
    d: float
    batch: float
    row: int
    trunk: int
    tuned: bool


def lr_minimum(rate: np.ndarray, loss: np.ndarray) -> LrMinimum:
    """The minimum of one point: a vertex, or its best run with a flag.

    Args:
        rate: (runs,) in any order; equal ones are repeats.
        loss: (runs,) nats, NaN where the run diverged.
    """
    rates = np.unique(rate)
    # A rate at which one of several runs diverged is not safe: the mean is NaN.
    losses = np.array([loss[rate == r].mean() for r in rates])
    if np.isnan(losses).all():
        return _best_run(rates, losses, None, "every run diverged; add lower rates")
    i = _best(losses)
    flag = _no_bracket(rates, losses, i)
    if flag:
        return _best_run(rates, losses, i, flag)
    best, lowest = float(rates[i]), float(losses[i])
    coefficients, u_star = _vertex(np.log(rates / best), losses, i)
    at_vertex = _parabola_at(coefficients, u_star)
    if lowest - at_vertex > MOST_GAIN * abs(lowest):
        flag = f"the loss rises too steeply beside {best:.3g} for a parabola; add rates"
        return _best_run(rates, losses, i, flag)
    return LrMinimum(
        rates=tuple(rates.tolist()),
        losses=tuple(losses.tolist()),
        lr=float(best * np.exp(u_star)),
        loss=float(at_vertex),
        parabola=coefficients,
        lr_best=best,
        lr_at_edge=False,
        flag="",
    )


def _best_run(
    rates: np.ndarray, losses: np.ndarray, i: int | None, flag: str
) -> LrMinimum:
    """The run at rate `i` in place of a vertex; NaN where every run diverged."""
    best = math.nan if i is None else float(rates[i])
    return LrMinimum(
        rates=tuple(rates.tolist()),
        losses=tuple(losses.tolist()),
        lr=best,
        loss=math.nan if i is None else float(losses[i]),
        parabola=None,
        lr_best=best,
        lr_at_edge=i in (0, len(rates) - 1),
        flag=flag,
    )


def _best(losses: np.ndarray) -> int:
    """The index of the lowest loss; of equal ones, the one furthest from the ends."""
    tied = np.flatnonzero(losses == np.nanmin(losses))
    return int(max(tied, key=lambda i: min(i, len(losses) - 1 - i)))


def _no_bracket(rates: np.ndarray, losses: np.ndarray, i: int) -> str:
    """The reason why no higher loss is on both sides of the best; "" when one is."""
    if len(rates) == 1:
        return "one rate only; add rates"
    if i == 0:
        return f"the lowest rate {rates[0]:.3g} is the best; add lower ones"
    if i == len(rates) - 1:
        return f"the highest rate {rates[-1]:.3g} is the best; add higher ones"
    beside = losses[[i - 1, i + 1]]
    if np.isnan(beside).any():
        lost = rates[[i - 1, i + 1]][np.isnan(beside)][0]
        return f"beside the best rate, {lost:.3g} diverged; add rates between"
    if (beside == losses[i]).all():
        return "the loss is the same at three rates; space them further apart"
    return ""


def _vertex(
    u: np.ndarray, losses: np.ndarray, i: int
) -> tuple[tuple[float, float, float], float]:
    """The parabola (p0, p1, p2) around the best rate, and its vertex in u.

    It goes through the rates within `WINDOW` of the best, and at least its neighbours;
    through those alone where the wider one has its vertex beyond them.
    """
    near = np.abs(u) <= np.log(WINDOW) * (1 + 1e-9)
    near &= np.isfinite(losses)
    near[i - 1 : i + 2] = True
    neighbours = np.zeros(len(u), bool)
    neighbours[i - 1 : i + 2] = True
    for used in (near, neighbours):
        p2, p1, p0 = np.polyfit(u[used], losses[used], 2)
        u_star = -p1 / (2 * p2) if p2 > 0 else np.nan
        if u[i - 1] <= u_star <= u[i + 1]:
            break
    return (float(p0), float(p1), float(p2)), float(u_star)


def _parabola_at(
    coefficients: tuple[float, float, float], u: np.ndarray | float
) -> np.ndarray | float:
    p0, p1, p2 = coefficients
    return p0 + p1 * u + p2 * u * u
