"""Facts about profiles, comparisons, estimators and suggestions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.errors import AnalysisError
from analysis.fitting.fit import fit_parts
from analysis.fitting.options import FitOptions, Objective
from analysis.fitting.problem import prepare
from analysis.laws import get_law
from analysis.optimal.envelope import envelope, usable_points
from analysis.optimal.side_by_side import Exponent, disagreements, side_by_side
from analysis.selection.compare import compare, suitable_laws
from analysis.selection.suggest import Candidate, suggest
from analysis.selection.target import Target, target_gradient
from analysis.tables.curves import read_metrics
from analysis.tables.table import read_table, table_from_frame
from analysis.uncertainty.intervals import fit_with_intervals
from analysis.uncertainty.predictions import optimum_at
from analysis.uncertainty.profile import profile, profile_objective
from analysis.uncertainty.units import Bootstrap
from tests.analysis import synthetic
from tests.analysis.stores import write_store

SQUARES = FitOptions(objective=Objective(loss="squares"))
FEW = Bootstrap(replicas=100)


def test_a_profile_touches_the_optimum_and_its_interval_agrees_with_bootstrap() -> None:
    table = synthetic.table(noise=0.01)
    parts = fit_parts(table, "chinchilla", SQUARES)
    boot = fit_with_intervals(table, bootstrap=Bootstrap(), options=SQUARES)
    for name in ("E", "alpha", "A"):
        found = profile(parts.problem, parts.optimum, name)
        low, high = found.interval
        assert low < parts.fit.constants[name] < high
        assert found.objective.min() >= parts.optimum.objective * (1 - 1e-9)
        width = boot.intervals[name][1] - boot.intervals[name][0]
        assert (high - low) / width == pytest.approx(1, abs=0.4)


def test_a_profile_equals_a_fit_with_the_constant_fixed() -> None:
    from analysis.fitting.search import find_optimum
    from analysis.laws import fix

    table = synthetic.table(noise=0.01)
    parts = fit_parts(table, "chinchilla", SQUARES)
    held = profile_objective(parts.problem, parts.optimum, "beta", np.array([0.3]))
    fixed = prepare(table, fix(get_law("chinchilla"), beta=0.3), SQUARES.objective)
    assert held[0] == pytest.approx(find_optimum(fixed).objective, rel=1e-8)
    with pytest.raises(AnalysisError, match="no constant 'gamma'"):
        profile_objective(parts.problem, parts.optimum, "gamma", np.array([0.3]))


def test_a_profile_far_along_a_ridge_is_the_least_objective() -> None:
    """20 noisy rows: A moves over decades with alpha, hardly raising the objective."""
    from analysis.fitting.search import find_optimum
    from analysis.laws import fix
    from analysis.laws.joint import CHINCHILLA

    table = synthetic.table(noise=0.02, sizes=5, budgets=4)
    parts = fit_parts(table, "chinchilla")
    for factor in (1e-2, 1e2, 1e4):
        value = factor * parts.fit.constants["A"]
        held = profile_objective(parts.problem, parts.optimum, "A", np.array([value]))
        fixed = prepare(table, fix(CHINCHILLA, A=value), parts.problem.objective)
        assert held[0] <= find_optimum(fixed).objective * (1 + 1e-4)


def test_the_true_law_wins_the_comparison() -> None:
    table = synthetic.table(noise=0.002)
    standings = compare(table, bootstrap=Bootstrap(replicas=20))
    assert standings[0].law == "chinchilla"
    assert standings[-1].error > 2 * standings[0].error
    assert {s.law for s in standings} == {x.name for x in suitable_laws(table)}


def test_estimators_side_by_side_find_the_exponent(tmp_path) -> None:
    store = write_store(tmp_path / "toy", budgets=7, sizes=9, noise=0.001)
    rows = side_by_side(
        read_table(store),
        budget="grid.compute",
        conventions=("n_matmul", "n_total"),
        bootstrap=FEW,
    )
    truth = 0.38 / (0.32 + 0.38)
    found = {(r.approach[0:9], r.convention): r for r in rows}
    assert found["3 paramet", "n_matmul"].value == pytest.approx(truth, abs=0.02)
    for row in rows:
        if row.convention == "n_matmul" and row.approach.startswith("2"):
            assert row.value == pytest.approx(truth, abs=0.06)
    notes = disagreements(rows)
    assert any("n_matmul" in x and "n_total" in x for x in notes)
    assert all("do not overlap" in x for x in notes)


def exponent(approach: str, convention: str, low: float, high: float) -> Exponent:
    return Exponent(
        approach=approach,
        convention=convention,
        value=(low + high) / 2,
        interval=(low, high),
        note="",
    )


def test_estimators_disagree_when_their_intervals_do_not_overlap() -> None:
    one = exponent("3 parametric", "n_matmul", 0.40, 0.50)
    touching = exponent("1 envelope", "n_matmul", 0.49, 0.80)
    apart = exponent("2 isoFLOP, Akima", "n_matmul", 0.51, 0.60)
    elsewhere = exponent("2 isoFLOP, Akima", "n_total", 0.10, 0.20)
    assert disagreements((one, touching)) == ()  # either value is outside the other's
    (note,) = disagreements((one, apart))
    assert "0.450 [0.400, 0.500]" in note
    assert disagreements((one, elsewhere)) == ()  # they differ in both


def test_the_envelope_of_training_curves_has_the_exponent_of_the_law() -> None:
    """Exact curves of Hoffmann's law, compared before any cooldown: a = 0.452."""
    n = np.geomspace(1e6, 1e10, 17)
    runs = pd.DataFrame({"n": n, "d": 5e12 / n**0.5, "run": np.arange(17)})
    runs["c"] = 6 * runs["n"] * runs["d"]
    runs["loss"] = synthetic.chinchilla_loss(runs["n"], runs["d"])
    share = np.geomspace(1e-4, 1, 200)
    curves = pd.concat(
        pd.DataFrame(
            {
                "run_id": r.run,
                "step": np.arange(200),
                "flops": r.c * share,
                "value": synthetic.chinchilla_loss(r.n, r.d * share),
            }
        )
        for r in runs.itertuples()
    )
    roles = {k: k for k in ("n", "d", "c", "loss", "run")}
    table = table_from_frame(runs, **roles)
    found = envelope(table, curves, FEW)
    assert found.exponent == pytest.approx(0.28 / 0.62, abs=0.03)
    assert found.interval[0] < 0.28 / 0.62 < found.interval[1]
    assert "not annealed" in found.note
    # The ends alone are one run a budget: nothing says which size is best.
    with pytest.raises(AnalysisError, match=r"0 sizes that have rivals.*ends of runs"):
        envelope(table, None, FEW)


def test_points_after_the_start_of_a_cooldown_are_not_compared(tmp_path) -> None:
    store = write_store(tmp_path / "toy", budgets=3, sizes=4)
    table = read_table(store)
    frame = table.frame.assign(**{"schedule.name": "wsd", "schedule.cooldown": 0.2})
    table = replace(table, frame=frame)
    curves = read_metrics(store, "loss", "eval").rows
    points, note = usable_points(table, curves)
    steps = dict(zip(frame["run_id"], frame["steps"], strict=True))
    last = points.groupby("run_id")["step"].max()
    assert all(step <= 0.8 * steps[run] for run, step in last.items())
    assert 0 < len(points) < len(curves)
    assert "before their cooldown" in note


def test_the_gradient_of_a_target_predicts_its_change() -> None:
    table = synthetic.table(noise=0.005)
    parts = fit_parts(table, "chinchilla")
    law, theta = get_law("chinchilla"), parts.optimum.theta
    gradient = target_gradient(law, theta, Target(kind="loss", compute=1e22), 6.0)
    best = optimum_at(parts.fit, 1e22)
    c = parts.fit.constants
    # Envelope theorem: only the direct dependence of the loss on a constant counts.
    expected = c["A"] * best["n"].value ** -c["alpha"]
    assert gradient[0] == pytest.approx(1.0, rel=1e-6)
    assert gradient[1] == pytest.approx(float(expected), rel=1e-4)


def test_suggested_runs_fit_the_budget_and_shrink_the_error() -> None:
    table = synthetic.table(noise=0.005, sizes=5, budgets=5)
    budget = float(table.values("c").sum())
    found = suggest(table, budget=budget, target=Target(kind="loss", compute=1e24))
    assert 0 < found.spent <= budget * (1 + 1e-9)
    assert len(found.runs) <= 40
    assert found.error_after < 0.8 * found.error_before


def test_suggest_chooses_the_informative_candidate() -> None:
    """A copy of a run in the middle teaches less than a run far out at equal price."""
    table = synthetic.table(noise=0.005, sizes=5, budgets=5)
    dull, telling = Candidate(n=3e8, d=2e10, price=1.0), Candidate(
        n=4e10, d=1e12, price=1.0
    )  # fmt: skip
    goal = Target(kind="loss", compute=1e24)
    found = suggest(
        table, budget=1.0, target=goal, candidates=[dull, telling], most_runs=1
    )
    assert found.runs == (telling,)


def test_bad_requests_for_suggestions_are_refused() -> None:
    table = synthetic.table(noise=0.005, sizes=5, budgets=5)
    with pytest.raises(AnalysisError, match="none of loss"):
        Target(kind="size", compute=1.0)  # type: ignore[arg-type]
    with pytest.raises(AnalysisError, match="no candidate run costs at most"):
        suggest(table, budget=1.0, target=Target(kind="a", compute=1e22))
