"""The best model by a law: for a compute budget or a loss, trained once, served often.

A model of n parameters trained on d tokens costs k n d FLOPs, and 2 n for each token
that it serves afterwards (Sardana et al. 2024, arXiv:2401.00448, eq. 1). The law
chooses n and d, unless one of them, or their ratio, is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from analysis.errors import AnalysisError
from analysis.laws.arrays import Constants, FloatArray, Number
from analysis.laws.base import Law

GOLDEN = 0.6180339887498949
"""The golden ratio, less one."""
STEPS = 60
"""The golden-section steps: the bracket shrinks by 3e-13."""
HALVINGS = 64
"""The steps of a bisection: the bracket shrinks by 5e-20."""
MOST = np.log(1e40)
"""The logarithm of the most parameters, or tokens, that are looked at."""
SERVED = 2.0
"""FLOPs per parameter and token of a forward pass."""


class Allocation(NamedTuple):
    """Optimal parameters, tokens and loss (nats); arrays of one common shape.

    Entries are NaN where there is no such model, or no minimum between n = 1 and d = 1.
    """

    n: FloatArray
    d: FloatArray
    loss: FloatArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Demand:
    """What is asked of a model: a budget or a loss, and what is not free.

    Attributes:
        compute: FLOPs of training and serving together; None where a loss is given.
        loss: the loss to reach with the least FLOPs; None where a budget is given.
        flops_per_nd: k, training FLOPs per parameter and token.
        served: tokens that the model will serve.
        n: parameters, if they are given.
        ratio: tokens per parameter, if they are given.
        most_d: the most tokens that there are to train on.
        others: values of the law's other columns.
    """

    compute: Number | None = None
    loss: Number | None = None
    flops_per_nd: float = 6.0
    served: float = 0.0
    n: float | None = None
    ratio: float | None = None
    most_d: float = np.inf
    others: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.compute is None) == (self.loss is None):
            raise AnalysisError("ask for a compute budget or for a loss, one of them")
        if self.n is not None and self.ratio is not None:
            raise AnalysisError("of n and of tokens per parameter one can be given")

    def training(self, n: FloatArray, d: FloatArray) -> FloatArray:
        """FLOPs to train a model of n parameters on d tokens."""
        return np.asarray(self.flops_per_nd * n * d)

    def total(self, n: FloatArray, d: FloatArray) -> FloatArray:
        """FLOPs to train it and to serve its tokens."""
        return np.asarray(self.training(n, d) + SERVED * n * self.served)


def allocate(
    law: Law,
    constants: Constants,
    compute: Number,
    *,
    flops_per_nd: float = 6.0,
) -> Allocation:
    """The minimum of L(n, d) subject to C = k n d, by golden section in ln n.

    Args:
        law: reads n and d and has one minimum along a budget (all laws here do).
        constants: name -> number, or array broadcast against `compute`.
        compute: budgets C in FLOPs.
        flops_per_nd: k, training FLOPs per parameter and token.

    Raises:
        AnalysisError: the law reads other columns than n and d.
    """
    demand = Demand(compute=compute, flops_per_nd=flops_per_nd)
    return best_model(law, constants, demand)


def best_model(law: Law, constants: Constants, demand: Demand) -> Allocation:
    """The model that a law says is best, elementwise over constants and budgets.

    Raises:
        AnalysisError: the law reads columns that are neither n, d nor given.
    """
    missing = set(law.columns) - {"n", "d"} - set(demand.others)
    if not {"n", "d"} <= set(law.columns) or missing:
        raise AnalysisError(
            f"{law.name} reads {', '.join(law.columns)}: an optimal allocation needs a "
            "law in n and d" + (f", and a value of {min(missing)}" if missing else "")
        )
    asked = demand.loss if demand.compute is None else demand.compute
    values = {k: np.asarray(v, np.float64) for k, v in constants.items()}
    target = np.asarray(asked, np.float64)
    shape = np.broadcast_shapes(target.shape, *(v.shape for v in values.values()))
    search = _Search(law, values, demand, np.broadcast_to(target, shape))
    log_n, log_d = search.within_budget() if demand.loss is None else search.to_loss()
    n, d = np.exp(log_n), np.exp(log_d)
    return Allocation(n, d, search.losses(log_n, log_d))


def where_reached(
    loss: Callable[[FloatArray], FloatArray], target: FloatArray, most: float
) -> FloatArray:
    """The least ln x at which a falling loss is a target, elementwise; NaN if never.

    Args:
        loss: of ln x.
        target: losses.
        most: the greatest ln x that is looked at; the least is 0.
    """
    low, high = np.zeros(target.shape), np.full(target.shape, most)
    reached = loss(high) <= target
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        above = loss(middle) > target
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.where(reached, high, np.nan)


class _Search:
    """Golden sections and bisections in ln n and ln d, for many laws at once."""

    def __init__(
        self, law: Law, constants: Constants, demand: Demand, target: FloatArray
    ) -> None:
        self.law, self.constants, self.demand = law, constants, demand
        self.target = target
        self.most_d = min(MOST, float(np.log(demand.most_d)))

    def losses(self, log_n: FloatArray, log_d: FloatArray) -> FloatArray:
        columns: dict[str, Number] = {
            "n": np.exp(log_n),
            "d": np.exp(log_d),
            **self.demand.others,
        }
        return self.law.losses(self.constants, columns)

    def within_budget(self) -> tuple[FloatArray, FloatArray]:
        """The least loss that the target, FLOPs, buys."""
        if self.demand.n is not None:
            log_n = np.full(self.target.shape, np.log(self.demand.n))
            return log_n, self._d_of_budget(log_n)
        if self.demand.ratio is not None:
            log_n = self._n_of_ratio()
            return log_n, self._d_of_ratio(log_n)
        one_token = self.demand.flops_per_nd + SERVED * self.demand.served
        top = np.asarray(np.log(self.target / one_token), np.float64)
        log_n = self._lowest(
            lambda x: self.losses(x, self._d_of_budget(x)), np.zeros_like(top), top
        )
        inside = (log_n > 1e-6) & (log_n < top - 1e-6)
        log_n = np.where(inside, log_n, np.nan)
        return log_n, self._d_of_budget(log_n)

    def _d_of_budget(self, log_n: FloatArray) -> FloatArray:
        """The tokens that the budget leaves for a size; NaN if it leaves none."""
        if self.demand.served == 0:
            log_d = np.log(self.target / self.demand.flops_per_nd) - log_n
            return np.asarray(np.minimum(log_d, self.most_d))
        left = self.target * np.exp(-log_n) - SERVED * self.demand.served
        positive = np.where(left > 0, left, np.nan)
        log_d = np.log(positive / self.demand.flops_per_nd)
        return np.asarray(np.minimum(log_d, self.most_d))

    def _n_of_ratio(self) -> FloatArray:
        """The size whose training at the given ratio, and serving, cost the budget."""
        assert self.demand.ratio is not None
        square = self.demand.flops_per_nd * self.demand.ratio
        half = SERVED * self.demand.served / 2
        # Of k r n² + 2 half n = C the root is written so that nothing cancels.
        n = self.target / (half + np.sqrt(half**2 + square * self.target))
        return np.asarray(np.log(n))

    def _d_of_ratio(self, log_n: FloatArray) -> FloatArray:
        """The tokens at the given ratio; NaN if there are not so many."""
        assert self.demand.ratio is not None
        log_d = log_n + np.log(self.demand.ratio)
        return np.where(log_d <= self.most_d, log_d, np.nan)

    def to_loss(self) -> tuple[FloatArray, FloatArray]:
        """The least FLOPs that reach the target, a loss."""
        if self.demand.n is not None:
            log_n = np.full(self.target.shape, np.log(self.demand.n))
            return log_n, self._d_of_loss(log_n)
        if self.demand.ratio is not None:
            step = np.log(self.demand.ratio)
            log_n = self._where_reached(lambda x: self.losses(x, x + step), MOST)
            return log_n, self._d_of_ratio(log_n)
        least = self._where_reached(
            lambda x: self.losses(x, np.full_like(x, self.most_d)), MOST
        )
        log_n = self._lowest(self._cost, least, np.full_like(least, MOST))
        return log_n, self._d_of_loss(log_n)

    def _cost(self, log_n: FloatArray) -> FloatArray:
        cost = self.demand.total(np.exp(log_n), np.exp(self._d_of_loss(log_n)))
        return np.where(np.isfinite(cost), cost, np.inf)

    def _d_of_loss(self, log_n: FloatArray) -> FloatArray:
        return self._where_reached(lambda x: self.losses(log_n, x), self.most_d)

    def _where_reached(
        self, loss: Callable[[FloatArray], FloatArray], most: float
    ) -> FloatArray:
        return where_reached(loss, self.target, most)

    def _lowest(
        self,
        value: Callable[[FloatArray], FloatArray],
        low: FloatArray,
        high: FloatArray,
    ) -> FloatArray:
        """The argument of the least value between two, by golden section."""
        for _ in range(STEPS):
            left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
            go_left = ~(value(left) > value(right))
            low, high = np.where(go_left, low, left), np.where(go_left, right, high)
        return np.asarray(0.5 * (low + high))
