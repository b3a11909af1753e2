"""Facts about the estimators of compute-optimal scaling."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.errors import AnalysisError
from analysis.optimal.akima import akima
from analysis.optimal.envelope import envelope
from analysis.optimal.isoflop import isoflop
from analysis.tables.table import Table, table_from_frame
from analysis.uncertainty.units import Bootstrap
from tests.analysis import synthetic
from tests.analysis.synthetic import TRUTH


def isoflop_table(
    noise: float = 0.0, budgets: int = 6, sizes: int = 7, shift: float = 1.0
) -> Table:
    """Sizes spread a factor 4 to either side of the truth's optimum, times `shift`."""
    t, rng = TRUTH, np.random.default_rng(0)
    rows = []
    for c in np.geomspace(1e19, 1e22, budgets):
        g = (t["alpha"] * t["A"] / (t["beta"] * t["B"])) ** (
            1 / (t["alpha"] + t["beta"])
        )
        best = g * (c / 6) ** (t["beta"] / (t["alpha"] + t["beta"]))
        n = shift * best * np.geomspace(0.25, 4, sizes)
        loss = synthetic.chinchilla_loss(n, c / (6 * n))
        loss = loss * np.exp(noise * rng.standard_normal(sizes))
        rows.append(pd.DataFrame({"n": n, "d": c / (6 * n), "c": c, "loss": loss}))
    return table_from_frame(pd.concat(rows), n="n", d="d", c="c", loss="loss")


def test_isoflop_minima_have_the_exponent_of_the_law() -> None:
    result = isoflop(isoflop_table())
    assert len(result.parabolas) == 6
    assert result.notes == ()
    assert result.n_star is not None
    assert result.d_star is not None
    assert result.n_star.exponent == pytest.approx(0.28 / 0.62, abs=0.005)
    assert result.n_star.exponent + result.d_star.exponent == pytest.approx(1, abs=1e-6)


def test_isoflop_interval_covers_the_exponent_under_noise() -> None:
    result = isoflop(isoflop_table(noise=0.001))
    assert result.n_star is not None
    low, high = result.n_star.interval
    assert low < 0.28 / 0.62 < high
    assert 0.01 < high - low < 0.2
    assert result.noise == pytest.approx(0.001 * 2.3, rel=0.4)


@pytest.mark.parametrize(("shift", "side"), [(8.0, "below"), (1 / 8, "above")])
def test_minima_off_the_grid_are_flagged_and_not_used(shift: float, side: str) -> None:
    result = isoflop(isoflop_table(shift=shift))
    assert all(p.edge for p in result.parabolas)
    assert side in result.parabolas[0].edge
    assert result.n_star is None
    assert len(result.notes) == 7


def test_isoflop_needs_three_sizes_at_one_budget() -> None:
    with pytest.raises(AnalysisError, match="no compute budget has three sizes"):
        isoflop(isoflop_table(sizes=2))


def test_every_estimator_draws_the_units_that_the_bootstrap_names() -> None:
    table, by_trunk = isoflop_table(noise=0.001), Bootstrap(kind="trunk", replicas=20)
    for estimate in (
        lambda: isoflop(table, bootstrap=by_trunk),
        lambda: akima(table, None, by_trunk),
        lambda: envelope(table, None, by_trunk),
    ):
        with pytest.raises(AnalysisError, match="which runs share a trunk"):
            estimate()


def test_the_interval_by_seed_is_of_refitted_parabolas() -> None:
    """Two seeds of every run: units are drawn by weights, not by residuals."""
    frames = [isoflop_table(noise=0.001).frame, isoflop_table(noise=0.001).frame]
    frames[1]["loss"] *= np.exp(0.001 * np.random.default_rng(1).standard_normal(42))
    roles = {k: k for k in ("n", "d", "c", "loss")}
    table = table_from_frame(pd.concat(frames).assign(s=1), **roles, seed="s")
    n_star = isoflop(table, bootstrap=Bootstrap(kind="seed", replicas=200)).n_star
    assert n_star is not None
    low, high = n_star.interval
    assert low < n_star.exponent < high and high - low < 0.1


def test_parabolas_through_all_their_rows_have_no_interval() -> None:
    n_star = isoflop(isoflop_table(noise=0.001, sizes=3)).n_star
    assert n_star is not None
    assert np.isnan(n_star.interval).all()
