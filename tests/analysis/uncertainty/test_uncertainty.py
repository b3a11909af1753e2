"""Facts about intervals: they cover the truth as often as they say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.errors import AnalysisError
from analysis.tables.table import table_from_frame
from analysis.uncertainty.draws import bootstrap_draws, resampled_weights
from analysis.uncertainty.intervals import fit_with_intervals, percentiles
from analysis.uncertainty.predictions import optimum_at, predict
from analysis.uncertainty.units import Bootstrap, Units, advise, effective_units
from analysis.uncertainty.wild import linear_errors
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


def spec_frame(sizes: int, lengths: int, seeds: int = 1) -> pd.DataFrame:
    """Runs of a results folder: sizes by lengths by seeds."""
    rows = [
        {"n": 10.0**i, "d": 10.0**j, "loss": 2.0, "model.width": i, "steps": j}
        | {"optimizer.lr": 1e-3, "seed_init": s, "seed_order": s, "seed_data": 0}
        for i in range(sizes)
        for j in range(lengths)
        for s in range(seeds)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("frame", "kind", "caution"),
    [
        (spec_frame(12, 3), "trunk", ""),
        (spec_frame(5, 4), "row", "5 trunks"),
        (spec_frame(12, 1), "row", ""),
        (spec_frame(5, 3, seeds=3), "seed", ""),
        (spec_frame(4, 3, seeds=3), "trunk", ""),  # eight seeds to spare are too few
    ],
)
def test_the_advised_bootstrap_follows_what_the_rows_share(
    frame: pd.DataFrame, kind: str, caution: str
) -> None:
    table = table_from_frame(frame, n="n", d="d", loss="loss", duplicates="keep")
    advice = advise(table)
    assert advice.kind == kind
    assert caution in advice.caution
    assert bool(advice.caution) == bool(caution)


def test_unequal_trunks_count_for_fewer() -> None:
    """Kish: one unit of 9 rows and nine of 1 are worth 18² / (81 + 9) = 3.6."""
    labels = np.array([0] * 9 + list(range(1, 10)))
    assert effective_units(labels) == pytest.approx(3.6)


def test_percentiles_of_few_draws_reach_as_far_as_they_should() -> None:
    """Of 39 draws the ends of a 95 % interval are the least and the greatest."""
    low, high = percentiles(np.arange(39.0), 0.025)
    assert (low, high) == (0.0, 38.0)


@pytest.mark.parametrize("rows", [40, 400])
def test_any_estimator_is_drawn_by_the_rule_of_fits(rows: int) -> None:
    """The slope of a line: its draws spread by White 1980's standard error."""
    rng = np.random.default_rng(0)
    x = np.linspace(-1, 1, rows)
    y = 2 + x + 0.1 * rng.standard_normal(rows)
    varied = []

    def slope(weights: np.ndarray, losses: np.ndarray) -> np.ndarray:
        varied.append("losses" if np.ptp(weights) == 0 else "weights")
        total = weights.sum(axis=1, keepdims=True)
        x0 = x - (weights * x).sum(axis=1, keepdims=True) / total
        return (weights * x0 * losses).sum(axis=1) / (weights * x0 * x0).sum(axis=1)

    units = Units(kind="row", labels=np.arange(rows))
    errors = linear_errors(np.stack([np.ones(rows), x], 1), y, units)
    draws = bootstrap_draws(slope, y, units, Bootstrap(replicas=2000), errors)
    assert varied == ["losses" if rows == 40 else "weights"]
    moments = x * (y - errors.predicted)
    expected = np.sqrt(np.sum(moments**2)) / np.sum(x * x)
    assert draws.std() == pytest.approx(expected, rel=0.15)
