"""Facts about each law: it recovers its own constants, and reduces to simpler ones."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.errors import AnalysisError
from analysis.fitting.options import Objective, Search
from analysis.fitting.problem import Problem
from analysis.fitting.search import constants_of, find_optima, find_optimum
from analysis.laws import all_laws, fix, get_law
from tests.analysis import synthetic

N, D = synthetic.grid(7, 7)
X = np.geomspace(1e3, 1e9, 60)
TRUTHS = {
    "power": {"b": 30.0, "c": 0.2},
    "power_constant": {"E": 1.2, "b": 30.0, "c": 0.2},
    "shifted_power": {"b": 30.0, "c": 0.3, "g": 3e-6},
    "sigmoidal": {"b": 40.0, "c": 0.4, "E": 0.2, "e0": 1.0, "a": 0.6},
    "broken_1": {"E": 0.1, "b": 2.0, "c0": 0.05, "c1": 0.3, "d1": 1e6, "f1": 0.5},
    "chinchilla": synthetic.TRUTH,
    "tied": {"E": 1.7, "A": 400.0, "B": 600.0, "alpha": 0.3},
    "kaplan": {"Nc": 8.8e13, "Dc": 5.4e13, "alpha_N": 0.076, "alpha_D": 0.095},
    "overtrained": {"E": 1.8, "a": 140.0, "b": 190.0, "eta": 0.14},
    "additive:n,d": {
        "E": 1.69, "A_n": 406.4, "alpha_n": 0.34, "A_d": 410.7, "alpha_d": 0.28,
    },
}  # fmt: skip


def columns_of(law_name: str) -> dict[str, np.ndarray]:
    return {"x": X} if get_law(law_name).columns == ("x",) else {"n": N, "d": D}


@pytest.mark.parametrize("name", TRUTHS)
def test_each_law_gets_its_own_constants_back(name: str) -> None:
    law, columns, truth = get_law(name), columns_of(name), TRUTHS[name]
    y = law.losses(truth, columns)
    problem = Problem(
        law=law,
        columns=columns,
        y=y,
        weights=np.ones(len(y)),
        objective=Objective(loss="squares"),
    )
    found = constants_of(law, find_optimum(problem, Search(starts=64)).theta)
    for key, value in truth.items():
        assert found[key] == pytest.approx(value, rel=1e-3), (key, found)


def test_data_constrained_is_chinchilla_where_nothing_repeats() -> None:
    constants = {**synthetic.TRUTH, "R_N": 5.0, "R_D": 15.0}
    law = get_law("data_constrained")
    n, d = np.array([1e8, 1e9]), np.array([1e11, 1e12])
    fresh = law.losses(constants, {"n": n, "d": d, "u": d})
    repeated = law.losses(constants, {"n": n, "d": d, "u": d / 8})
    assert fresh == pytest.approx(synthetic.chinchilla_loss(n, d), rel=1e-9)
    assert np.all(repeated > fresh)


def test_the_sigmoidal_law_satisfies_its_equation() -> None:
    p = TRUTHS["sigmoidal"]
    y = get_law("sigmoidal").losses(p, {"x": X})
    left = (y - p["E"]) / (p["e0"] - y) ** p["a"]
    assert left == pytest.approx(p["b"] * X ** -p["c"], rel=1e-9)


def test_fixed_constants_leave_the_law_and_stay_put() -> None:
    law = fix(get_law("chinchilla"), alpha=0.34, beta=0.28)
    assert law.parameter_names == ("E", "A", "B")
    assert dict(law.derived)["a"]({}) == pytest.approx(0.28 / 0.62)
    with pytest.raises(AnalysisError, match="no constant 'gamma'"):
        fix(get_law("chinchilla"), gamma=1.0)


@pytest.mark.parametrize("name", ["chinchilla", "kaplan", "data_constrained"])
def test_a_law_whose_exponents_are_zero_has_no_exponent_of_the_optimum(
    name: str,
) -> None:
    law = get_law(name)
    flat = dict.fromkeys(law.parameter_names, 1.0)
    flat |= {k: 0.0 for k in flat if k.startswith(("alpha", "beta"))}
    for function in dict(law.derived).values():
        assert np.isnan(function(flat))
        many = {k: np.array([v, 0.5]) for k, v in flat.items()}
        assert np.isnan(function(many)).tolist() == [True, False]


def test_unknown_laws_are_named_with_the_nearest() -> None:
    with pytest.raises(AnalysisError, match="did you mean 'chinchilla'"):
        get_law("chinchila")
    with pytest.raises(AnalysisError, match="distinct column names"):
        get_law("additive:n,n")


def test_every_law_says_where_it_comes_from() -> None:
    for law in all_laws():
        assert any(c.isdigit() for c in law.reference), law.name
        assert "L" in law.formula


def test_many_tables_at_once_equal_one_at_a_time() -> None:
    law = get_law("power_constant")
    rng = np.random.default_rng(0)
    xs = [np.geomspace(1e3, 1e8, k) for k in (12, 20, 31)]
    ys = [(1 + 9 * x**-0.3) * np.exp(0.01 * rng.standard_normal(len(x))) for x in xs]
    problems = [
        Problem(law=law, columns={"x": x}, y=y, weights=np.ones(len(y)))
        for x, y in zip(xs, ys, strict=True)
    ]
    optima = find_optima(problems, Search(starts=16))
    for problem, optimum in zip(problems, optima, strict=True):
        alone = find_optimum(problem)
        assert optimum.objective == pytest.approx(alone.objective, rel=1e-9)
        predicted = law.losses(constants_of(law, optimum.theta), problem.columns)
        assert predicted == pytest.approx(problem.y, rel=0.05)
