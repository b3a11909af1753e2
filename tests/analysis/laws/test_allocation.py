"""The best models by a law, against closed forms and against every size tried."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.errors import AnalysisError
from analysis.laws import get_law
from analysis.laws.allocation import Demand, allocate, best_model

LAW = get_law("chinchilla")
TRUTH = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
BUDGET = 5.76e23


def test_a_budget_is_spent_as_the_closed_form_says() -> None:
    """Hoffmann et al. 2022, eq. 4."""
    t = TRUTH
    g = (t["alpha"] * t["A"] / (t["beta"] * t["B"])) ** (1 / (t["alpha"] + t["beta"]))
    best = allocate(LAW, TRUTH, BUDGET)
    assert best.n == pytest.approx(g * (BUDGET / 6) ** (0.28 / 0.62), rel=1e-6)
    assert 6 * best.n * best.d == pytest.approx(BUDGET, rel=1e-12)


def test_the_cheapest_model_of_a_loss_is_the_best_of_its_cost() -> None:
    budgets = np.geomspace(1e18, 1e26, 9)
    best = allocate(LAW, TRUTH, budgets)
    cheapest = best_model(LAW, TRUTH, Demand(loss=best.loss))
    assert 6 * cheapest.n * cheapest.d == pytest.approx(budgets, rel=1e-9)
    assert cheapest.n == pytest.approx(best.n, rel=1e-5)


@pytest.mark.parametrize("served", [1e9, 1e12, 1e14])
def test_served_tokens_cost_what_every_size_tried_says(served: float) -> None:
    """No size of a fine grid is cheaper (Sardana et al. 2024, eq. 2)."""
    demand = Demand(loss=1.95, served=served)
    best = best_model(LAW, TRUTH, demand)
    n = np.geomspace(5e9, 5e11, 4001)
    rest = 1.95 - TRUTH["E"] - TRUTH["A"] * n**-0.34
    n, rest = n[rest > 0], rest[rest > 0]
    d = (TRUTH["B"] / rest) ** (1 / 0.28)
    total = 6 * n * d + 2 * n * served
    assert demand.total(best.n, best.d) == pytest.approx(total.min(), rel=1e-5)
    assert demand.total(best.n, best.d) <= total.min() * (1 + 1e-9)
    assert best.loss == pytest.approx(1.95)
    assert best.n < best_model(LAW, TRUTH, Demand(loss=1.95)).n


def test_a_budget_pays_for_serving_too() -> None:
    demand = Demand(compute=1e24, served=1e13)
    best = best_model(LAW, TRUTH, demand)
    assert demand.total(best.n, best.d) == pytest.approx(1e24, rel=1e-9)
    for factor in (0.9, 1.1):
        n = np.asarray(best.n * factor)
        d = (1e24 / n - 2e13) / 6
        assert LAW.losses(TRUTH, {"n": n, "d": d}) > best.loss


def test_what_is_given_is_kept() -> None:
    by_size = best_model(LAW, TRUTH, Demand(compute=BUDGET, n=7e10))
    assert (by_size.n, by_size.d) == pytest.approx((7e10, BUDGET / 6 / 7e10))
    at_loss = best_model(LAW, TRUTH, Demand(loss=1.95, n=7e10))
    assert at_loss.n == pytest.approx(7e10) and at_loss.loss == pytest.approx(1.95)
    for demand in (
        Demand(compute=BUDGET, ratio=20),
        Demand(compute=BUDGET, ratio=20, served=1e12),
        Demand(loss=1.95, ratio=20),
    ):
        best = best_model(LAW, TRUTH, demand)
        assert best.d / best.n == pytest.approx(20)
        if demand.compute is None:
            assert best.loss == pytest.approx(1.95)
        else:
            assert demand.total(best.n, best.d) == pytest.approx(BUDGET)


def test_no_more_tokens_are_used_than_there_are() -> None:
    capped = best_model(LAW, TRUTH, Demand(compute=1e24, most_d=1e12))
    assert capped.d == pytest.approx(1e12, rel=1e-6)
    assert capped.n == pytest.approx(1e24 / 6e12, rel=1e-6)
    at_loss = best_model(LAW, TRUTH, Demand(loss=1.95, most_d=1e12))
    assert at_loss.d <= 1e12 * (1 + 1e-9) and at_loss.loss == pytest.approx(1.95)
    free = best_model(LAW, TRUTH, Demand(loss=1.95))
    assert at_loss.n > free.n
    too_many = Demand(compute=1e26, ratio=200, most_d=1e12)
    assert np.isnan(best_model(LAW, TRUTH, too_many).d)


def test_what_no_model_can_is_not_known() -> None:
    assert np.isnan(best_model(LAW, TRUTH, Demand(loss=1.6)).n)
    assert np.isnan(best_model(LAW, TRUTH, Demand(loss=1.95, n=1e9)).d)
    some = best_model(LAW, {**TRUTH, "E": np.array([1.5, 1.99])}, Demand(loss=1.9))
    assert np.isfinite(some.n[0]) and np.isnan(some.n[1])


def test_repeated_data_are_a_column_that_is_given() -> None:
    law = get_law("data_constrained")
    truth = {**TRUTH, "alpha": 0.35, "beta": 0.35, "R_N": 5.31, "R_D": 15.39}
    unlimited = best_model(law, truth, Demand(compute=1e22, others={"u": 1e14}))
    scarce = best_model(law, truth, Demand(compute=1e22, others={"u": 1e10}))
    assert scarce.loss > unlimited.loss
    assert scarce.d > 1e10  # some repeats pay
    with pytest.raises(AnalysisError, match="and a value of u"):
        best_model(law, truth, Demand(compute=1e22))


def test_demands_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(AnalysisError, match="one of them"):
        Demand()
    with pytest.raises(AnalysisError, match="one of them"):
        Demand(compute=1e20, loss=2.0)
    with pytest.raises(AnalysisError, match="one can be given"):
        Demand(compute=1e20, n=1e8, ratio=20)
