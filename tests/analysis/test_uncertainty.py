"""Facts about intervals: they cover the truth as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.errors import AnalysisError
from analysis.resampling import Bootstrap, resampled_weights
from analysis.uncertainty import fit_with_intervals, optimum_at, predict
from tests.analysis import synthetic
from tests.analysis.synthetic import TRUTH


def test_intervals_hold_constants_derived_values_and_predictions() -> None:
    fit = fit_with_intervals(
        synthetic.table(noise=0.005), bootstrap=Bootstrap(replicas=200)
    )
    for name, value in (fit.constants | fit.derived).items():
        low, high = fit.intervals[name]
        assert low < value < high
    band = predict(fit, {"n": np.array([1e8, 1e9]), "d": 2e10})
    assert np.all((band.low < band.value) & (band.value < band.high))
    truth = synthetic.chinchilla_loss(np.array([1e8, 1e9]), 2e10)
    assert np.all((band.low < truth) & (truth < band.high))


def test_the_optimum_is_the_closed_form_of_hoffmann() -> None:
    """N* = G (C/6)^a with G = (αA/βB)^(1/(α+β)) (Hoffmann et al. 2022, eq. 4)."""
    fit = fit_with_intervals(synthetic.table(), bootstrap=Bootstrap(replicas=20))
    c = np.array([1e19, 1e21, 1e24])
    t = TRUTH
    g = (t["alpha"] * t["A"] / (t["beta"] * t["B"])) ** (1 / (t["alpha"] + t["beta"]))
    expected = g * (c / 6) ** (t["beta"] / (t["alpha"] + t["beta"]))
    best = optimum_at(fit, c)
    assert best["n"].value == pytest.approx(expected, rel=1e-5)
    assert best["n"].value * best["d"].value * 6 == pytest.approx(c, rel=1e-9)


def test_replicas_are_reproducible_and_follow_the_seed() -> None:
    table = synthetic.table(noise=0.01, sizes=5, budgets=5)
    one, same, other = (
        fit_with_intervals(table, bootstrap=Bootstrap(replicas=50, seed=s))
        for s in (0, 0, 1)
    )
    assert one == same
    assert one.replicas != other.replicas


def test_whole_units_are_drawn_together() -> None:
    units = np.array(["a", "a", "b", "c", "c", "c"])
    weights = resampled_weights(units, 100, np.random.default_rng(0))
    assert np.all(weights[:, 0] == weights[:, 1])
    assert np.all(weights[:, 3] == weights[:, 5])
    assert np.all(weights[:, [0, 2, 3]].sum(1) == 3)


def test_bad_bootstraps_are_refused() -> None:
    with pytest.raises(AnalysisError, match="2 or more"):
        Bootstrap(replicas=1)
    with pytest.raises(AnalysisError, match="none of row, run"):
        Bootstrap(kind="column")
    with pytest.raises(AnalysisError, match="at least 2 units"):
        resampled_weights(np.zeros(5), 10, np.random.default_rng(0))
