"""How often each bootstrap's 95 % intervals cover the truth in simulated tables.

300 simulated tables put a standard error of 1.3 % on one coverage; the mean over the
five constants, whose coverages are correlated, is held to 92.5 to 97.5 % by row and by
run. Over three seeds 92.6 % was measured: a little too sure, held to 91 to 97.5 %.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from analysis import solver
from analysis.errors import AnalysisError
from analysis.fit import minimise
from analysis.laws import get_law
from analysis.problem import Objective, Problem
from analysis.uncertainty import (
    Bootstrap,
    fit_with_intervals,
    predict,
    resampled_weights,
    seed_weights,
)
from tests.analysis import synthetic

TABLES, REPLICAS = 300, 200
LAW = get_law("chinchilla")
TRUTH = solver.to_solver(LAW, synthetic.TRUTH)


def coverage(
    n: np.ndarray,
    d: np.ndarray,
    labels: np.ndarray,
    errors: Callable,
    draw: Callable,
    tables: int = TABLES,
) -> np.ndarray:
    """Share of tables whose interval holds the truth, per constant."""
    rng = np.random.default_rng(0)
    exact = synthetic.chinchilla_loss(n, d)
    y = exact * np.exp(np.stack([errors(rng) for _ in range(tables)]))
    problem = Problem(
        law=LAW,
        columns={"n": n, "d": d},
        y=y,
        weights=np.ones(len(n)),
        objective=Objective(loss="squares"),
    )
    best = minimise(problem, np.tile(TRUTH, (tables, 1)), near=True).theta
    many = replace(
        problem,
        y=np.repeat(y, REPLICAS, 0),
        weights=draw(labels, tables * REPLICAS, rng),
    )
    draws = minimise(many, np.repeat(best, REPLICAS, 0), near=True).theta
    draws = draws.reshape(tables, REPLICAS, -1)
    low, high = np.quantile(draws, [0.025, 0.975], axis=1)
    return np.mean((low <= TRUTH) & (high >= TRUTH), axis=0)


def test_rows_that_are_independent() -> None:
    n, d = synthetic.grid(8, 8)
    found = coverage(
        n, d, np.arange(64), lambda r: 0.01 * r.standard_normal(64), resampled_weights
    )
    assert 0.925 <= found.mean() <= 0.975, found
    assert found.min() >= 0.91, found


def clustered() -> tuple[np.ndarray, np.ndarray, np.ndarray, Callable]:
    """40 runs of 5 evaluations each, whose errors are mostly those of their run."""
    rng = np.random.default_rng(5)
    n = np.repeat(np.exp(rng.uniform(np.log(1e7), np.log(1e10), 40)), 5)
    d = np.exp(rng.uniform(np.log(1e9), np.log(3e11), 200))

    def errors(r: np.random.Generator) -> np.ndarray:
        own = 0.003 * r.standard_normal(200)
        return np.asarray(0.01 * np.repeat(r.standard_normal(40), 5) + own)

    return n, d, np.repeat(np.arange(40), 5), errors


def test_rows_of_one_run_need_the_bootstrap_by_run() -> None:
    n, d, runs, errors = clustered()
    found = coverage(n, d, runs, errors, resampled_weights)
    assert 0.925 <= found.mean() <= 0.975, found
    by_row = coverage(n, d, np.arange(200), errors, resampled_weights, tables=60)
    assert by_row.min() < 0.75, by_row  # the wrong bootstrap is far too sure


def test_three_seeds_per_configuration() -> None:
    n, d = (np.repeat(x, 3) for x in synthetic.grid(6, 6))
    labels = np.repeat(np.arange(36), 3)
    found = coverage(
        n, d, labels, lambda r: 0.01 * r.standard_normal(108), seed_weights
    )
    assert 0.91 <= found.mean() <= 0.975, found


def test_a_bootstrap_over_seeds_needs_two_seeds() -> None:
    with pytest.raises(AnalysisError, match="1 configurations have one seed only"):
        seed_weights(np.array([0, 0, 1]), 10, np.random.default_rng(0))


def test_prediction_intervals_hold_95_percent_of_new_runs() -> None:
    fit = fit_with_intervals(
        synthetic.table(noise=0.01), bootstrap=Bootstrap(replicas=2000)
    )
    rng = np.random.default_rng(9)
    n, d = synthetic.grid(20, 20)
    new = synthetic.chinchilla_loss(n, d) * np.exp(0.01 * rng.standard_normal(400))
    run, law = (predict(fit, {"n": n, "d": d}, new_run=k) for k in (True, False))
    held = np.mean((run.low <= new) & (new <= run.high))
    assert 0.92 <= held <= 0.98
    assert np.mean((law.low <= new) & (new <= law.high)) < 0.7
