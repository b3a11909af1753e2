"""Facts about fits: known constants come back, bad designs are named."""

from __future__ import annotations

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from analysis.errors import AnalysisError
from analysis.fitting import lanes, newton
from analysis.fitting.fit import fit_law
from analysis.fitting.options import FitOptions, Objective, Search
from analysis.fitting.problem import prepare
from analysis.fitting.record import Fit
from analysis.fitting.search import find_optimum, minimise
from analysis.fitting.starts import make_starts
from analysis.laws import (
    Law,
    all_laws,
    coefficient,
    exponent,
    get_law,
    irreducible,
)
from analysis.laws.arrays import Array, Values
from analysis.laws.interpret import interpreted, slopes_of
from analysis.tables.table import table_from_frame
from tests.analysis import synthetic
from tests.analysis.synthetic import TRUTH


@pytest.mark.parametrize("loss", ["huber", "squares", "absolute"])
@pytest.mark.parametrize("space", ["log", "linear"])
def test_noise_free_rows_give_the_constants_back(loss: str, space: str) -> None:
    fit = fit_law(
        synthetic.table(),
        options=FitOptions(objective=Objective(loss=loss, space=space)),
    )
    for name, value in TRUTH.items():
        assert fit.constants[name] == pytest.approx(value, rel=1e-4)
    assert fit.derived["a"] == pytest.approx(0.28 / (0.34 + 0.28), rel=1e-4)
    assert fit.diagnostics.flags == ()
    assert fit.diagnostics.share_at_best > 0.9


def test_the_start_does_not_matter_under_noise() -> None:
    """Two disjoint sets of starts find the same optimum to eight digits."""
    table = synthetic.table(noise=0.01)
    one = fit_law(table, options=FitOptions(search=Search(seed=1)))
    two = fit_law(table, options=FitOptions(search=Search(seed=2)))
    assert one.objective == pytest.approx(two.objective, rel=1e-10)
    for name, value in one.constants.items():
        assert two.constants[name] == pytest.approx(value, rel=1e-6)


def test_huber_ignores_a_wild_row_that_least_squares_follows() -> None:
    frame = synthetic.frame(noise=1e-4)
    frame.loc[10, "loss"] *= 2
    table = table_from_frame(frame, n="n", d="d", c="c", loss="loss")
    robust = fit_law(table)
    squares = fit_law(table, options=FitOptions(objective=Objective(loss="squares")))
    assert robust.constants["E"] == pytest.approx(TRUTH["E"], rel=2e-3)
    assert abs(squares.constants["E"] / TRUTH["E"] - 1) > 0.02


def test_the_optimum_is_stationary_and_beats_its_neighbours() -> None:
    problem = prepare(synthetic.table(noise=0.02), "chinchilla", Objective())
    optimum = find_optimum(problem)
    steps = np.random.default_rng(0).normal(scale=1e-3, size=(200, 5))
    nearby = minimise(problem, optimum.theta + steps, Search(max_iterations=0))
    assert np.all(nearby.objective >= optimum.objective)


def test_tokens_in_a_fixed_ratio_to_parameters_are_unidentifiable() -> None:
    n = np.geomspace(1e6, 1e9, 12)
    frame = synthetic.frame().head(12).assign(n=n, d=20 * n, c=120 * n * n)
    frame["loss"] = synthetic.chinchilla_loss(n, 20 * n) * (
        1 + 0.01 * np.random.default_rng(0).standard_normal(12)
    )
    fit = fit_law(table_from_frame(frame, n="n", d="d", c="c", loss="loss"))
    assert "unidentifiable" in fit.diagnostics.flags
    assert fit.diagnostics.condition_number > 1e3
    assert "d is proportional to n^1" in " ".join(fit.diagnostics.notes)


def test_a_constant_on_its_bound_is_flagged() -> None:
    """A pure power law has no irreducible loss: E ends at 0."""
    frame = synthetic.frame()
    rng = np.random.default_rng(3)
    frame["loss"] = 20 * frame["c"] ** -0.05 * (1 + 0.001 * rng.random(len(frame)))
    frame["loss"] -= 0.2  # steeper than a power law at large c
    table = table_from_frame(frame, c="c", loss="loss")
    fit = fit_law(table, "power_constant")
    assert fit.constants["E"] == 0.0
    assert "at_bound" in fit.diagnostics.flags
    assert "E" in " ".join(fit.diagnostics.notes)


def test_a_law_of_ones_own_needs_only_a_function_and_names() -> None:
    mine = Law(
        name="mine",
        predict=lambda p, x: p["E"] + p["A"] * x["n"] ** -p["alpha"] / x["width"],
        parameters=(irreducible("E"), coefficient("A"), exponent("alpha")),
        columns=("n", "width"),
        formula="L = E + A n^-alpha / width",
        reference="this test",
    )
    frame = synthetic.frame()
    frame["width"] = np.tile([64.0, 128.0], len(frame) // 2)
    frame["loss"] = 1.5 + 3e4 * frame["n"] ** -0.4 / frame["width"]
    table = table_from_frame(frame, n="n", width="width", loss="loss")
    fit = fit_law(table, mine)
    assert fit.constants == pytest.approx({"E": 1.5, "A": 3e4, "alpha": 0.4}, rel=1e-6)


def test_the_solver_gradient_agrees_with_finite_differences() -> None:
    problem = prepare(synthetic.table(noise=0.01), "chinchilla", Objective())
    theta = np.array([1.5, 5.5, 6.2, 0.33, 0.3])

    def value(t: np.ndarray) -> float:
        return float(minimise(problem, t[None], Search(max_iterations=0)).objective[0])

    r, jac = lanes.jacobian(problem.law, theta, problem.columns, problem.y, True)
    regression = newton.Regression(
        columns=dict(problem.columns),
        y=problem.y,
        weights=problem.weights[None],
        delta=1e-3,
        tolerance=0.0,
        low=np.full((1, 5), -np.inf),
        high=np.full((1, 5), np.inf),
    )
    point = newton.evaluate(
        np, lambda _: (r[None], jac.T[None]), theta[None], regression
    )
    (gradient,) = point.gradient
    for i in range(5):
        e = np.zeros(5)
        e[i] = 1e-6
        slope = (value(theta + e) - value(theta - e)) / 2e-6
        assert gradient[i] == pytest.approx(slope, rel=1e-4)


@pytest.mark.parametrize("law", all_laws(), ids=lambda law: law.name)
def test_numpy_and_compiled_programs_take_the_same_steps(
    law: Law, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = synthetic.frame(noise=0.01)
    rng = np.random.default_rng(3)
    frame["x"], frame["u"] = frame["n"], frame["d"] * rng.uniform(0.1, 1, len(frame))
    for name in set(law.columns) - set(frame):
        high = 0.9 if name == "sparsity" else 16
        frame[name] = rng.uniform(0.1 * high, high, len(frame))
    columns = {k: k for k in law.columns}
    table = table_from_frame(frame, loss="loss", **columns)
    problem = prepare(table, law, Objective())
    starts = lanes.to_solver(
        law,
        make_starts(law, problem.columns, problem.y, problem.weights, count=8, seed=0),
    )
    few = Search(max_iterations=5)
    assert slopes_of(law.predict, law.parameter_names, law.columns) is not None
    in_numpy = [minimise(problem, starts, s) for s in (few, Search())]
    monkeypatch.setattr(lanes, "slopes_of", lambda *_: None)
    compiled = [minimise(problem, starts, s) for s in (few, Search())]
    if not law.name.startswith(("broken", "sigmoidal")):
        # Those have constants that hardly count while they are far from right.
        np.testing.assert_allclose(in_numpy[0].theta, compiled[0].theta, rtol=1e-5)
        objectives = (in_numpy[0].objective, compiled[0].objective)
        np.testing.assert_allclose(*objectives, rtol=1e-6)
    best = [s.objective.min() for s in (in_numpy[1], compiled[1])]
    assert best[0] == pytest.approx(best[1], rel=1e-10)


def test_a_law_whose_coefficients_are_not_quite_linear_is_started_too() -> None:
    """The model that suits its data depends on the ratio of A and B."""
    law = get_law("data_constrained")
    truth = {**synthetic.TRUTH, "R_N": 5.3, "R_D": 15.4}
    frame = synthetic.frame()
    frame["u"] = np.minimum(frame["d"], np.geomspace(5e8, 2e10, len(frame)))
    columns = {k: frame[k].to_numpy() for k in law.columns}
    frame["loss"] = law.losses(truth, columns)
    fit = fit_law(table_from_frame(frame, n="n", d="d", u="u", loss="loss"), law)
    assert fit.diagnostics.rms_residual < 1e-5
    for name in ("E", "alpha", "beta", "R_D"):
        assert fit.constants[name] == pytest.approx(truth[name], rel=0.02)


def test_a_law_that_is_no_formula_is_compiled() -> None:
    def predict(p: Values, x: Values) -> Array:
        return p["E"] + jnp.cumsum(jnp.exp(-p["a"] * x["x"]))

    law = Law(
        name="sums",
        predict=predict,
        parameters=(irreducible("E"), exponent("a")),
        columns=("x",),
        formula="a sum over rows",
        reference="this test",
    )
    assert slopes_of(law.predict, law.parameter_names, law.columns) is None
    x = np.linspace(1, 9, 30)
    loss = law.losses({"E": 1.2, "a": 0.4}, {"x": x})
    table = table_from_frame(pd.DataFrame({"x": x, "loss": loss}), x="x", loss="loss")
    fit = fit_law(table, law)
    assert fit.constants == pytest.approx({"E": 1.2, "a": 0.4}, rel=1e-5)


@pytest.mark.parametrize(
    ("function", "number"),
    [
        (lambda x: jnp.where(x > 1, jnp.log1p(x), jax.nn.softplus(-x)), 0.7),
        (lambda x: jax.nn.sigmoid(x) * jnp.tanh(x) ** 3, 0.7),
        (lambda x: jnp.logaddexp(x, 2.0) / jnp.sqrt(jnp.abs(x)), -1.3),
        (lambda x: jax.lax.stop_gradient(x) * jnp.maximum(x, 0.5) ** 0.3, 0.2),
        (lambda x: jax.scipy.special.erf(x) + jnp.clip(x, -1, 1), 0.4),
    ],
)
def test_operations_in_numpy_are_those_of_jax(function, number) -> None:
    run = interpreted(jax.value_and_grad(function), 1)
    value, slope = run(np.array([number, 2 * number]))
    with jax.enable_x64(True):
        for i, x in enumerate((number, 2 * number)):
            expected = jax.value_and_grad(function)(jnp.float64(x))
            given = np.broadcast_to(value, 2)[i], np.broadcast_to(slope, 2)[i]
            np.testing.assert_allclose(given, expected, rtol=1e-12)


def test_of_many_rows_a_sample_is_searched_and_all_decide() -> None:
    rng = np.random.default_rng(0)
    n, d = np.exp(rng.uniform(14, 21, 60_000)), np.exp(rng.uniform(18, 25, 60_000))
    loss = 1.69 + 406.4 * n**-0.34 + 410.7 * d**-0.28
    frame = pd.DataFrame(
        {"n": n, "d": d, "loss": loss * np.exp(rng.normal(0, 0.02, 60_000))}
    )
    table = table_from_frame(frame, n="n", d="d", loss="loss")
    fit = fit_law(table)
    problem = prepare(table, "chinchilla", Objective())
    starts = lanes.to_solver(problem.law, fit.constants)[None] + rng.normal(
        0, 0.02, (3, 5)
    )
    direct = minimise(problem, starts)
    assert fit.objective == pytest.approx(direct.objective.min(), rel=1e-9)
    assert fit.diagnostics.rows == len(fit.residuals) == 60_000
    assert fit.diagnostics.gradient_norm < 1e-3
    assert "not_converged" not in fit.diagnostics.flags


def test_float64_stays_inside_the_solver() -> None:
    fit_law(synthetic.table())
    assert not jax.config.jax_enable_x64
    assert jnp.ones(1).dtype == jnp.float32


def test_a_fit_survives_json(tmp_path) -> None:
    fit = fit_law(synthetic.table(noise=0.01))
    fit.save(tmp_path / "fit.json")
    assert Fit.load(tmp_path / "fit.json") == fit
    infinite = replace(
        fit, diagnostics=replace(fit.diagnostics, condition_number=float("inf"))
    )
    record = json.loads(json.dumps(infinite.to_json(), allow_nan=False))
    assert record["diagnostics"]["condition_number"] is None
    assert np.isnan(Fit.from_json(record).diagnostics.condition_number)
    with pytest.raises(AnalysisError, match="not a fit record"):
        Fit.from_json({"law": "chinchilla"})


def test_a_printed_fit_names_what_a_reader_needs() -> None:
    text = str(fit_law(synthetic.table(noise=0.01).where("n > 2e7")))
    for part in ("alpha", "objective", "condition number", "8 rows left out: not (n >"):
        assert part in text
