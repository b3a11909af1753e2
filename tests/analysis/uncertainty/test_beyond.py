"""Intervals beyond the rows hold the truth of laws that are a little wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.fitting.record import Fit
from analysis.tables.table import Table, table_from_frame
from analysis.uncertainty.beyond import Beyond, scale_of
from analysis.uncertainty.intervals import fit_with_intervals
from analysis.uncertainty.predictions import optimum_at, predict
from analysis.uncertainty.units import Bootstrap
from tests.analysis import synthetic

Truth = Callable[[np.ndarray, np.ndarray], np.ndarray]
FEW = Bootstrap(replicas=100)


def study(rng: np.random.Generator) -> pd.DataFrame:
    """IsoFLOP curves over 1.7 to 3 decades of compute."""
    top = 10 ** rng.uniform(1.7, 3)
    rows = [
        (c, 0.1 * (c / 6) ** 0.5 * off, (c / 6) ** 0.5 / (0.1 * off))
        for c in 1e18 * np.geomspace(1, top, rng.integers(5, 9))
        for off in np.geomspace(0.2, 5, rng.integers(5, 9))
    ]
    return pd.DataFrame(rows, columns=["c", "n", "d"])


def bent(rng: np.random.Generator) -> Truth:
    """Hoffmann's law with a coupling, a curvature in ln C, or a drift with C."""
    kind, t = rng.integers(3), synthetic.TRUTH

    def reducible(n: np.ndarray, d: np.ndarray) -> np.ndarray:
        return t["A"] * n ** -t["alpha"] + t["B"] * d ** -t["beta"]

    if kind == 0:
        k = rng.uniform(0.6, 1.6)
        a, b = t["A"] ** (1 / k), t["B"] ** (1 / k)
        powers = t["alpha"] / k, t["beta"] / k
        return lambda n, d: t["E"] + (a * n ** -powers[0] + b * d ** -powers[1]) ** k
    if kind == 1:
        q = rng.uniform(-0.02, 0.02)
        return lambda n, d: (
            t["E"] + reducible(n, d) * np.exp(q * (np.log(n * d) - 45) ** 2 / 8)
        )
    g = rng.uniform(0.003, 0.012) * rng.choice([-1, 1])
    return lambda n, d: (t["E"] + reducible(n, d)) * (n * d / 1e19) ** g


def test_bent_laws_are_held_at_ten_and_twenty_times_the_compute() -> None:
    """Nominal 95 %; of 100 studies 88 or more, and the interval is not idle."""
    held: dict[int, list[bool]] = {10: [], 20: []}
    noise_alone: list[bool] = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        frame, truth = study(rng), bent(rng)
        frame["loss"] = truth(frame["n"], frame["d"]) * np.exp(
            0.003 * rng.standard_normal(len(frame))
        )
        table = table_from_frame(frame, n="n", d="d", c="c", loss="loss")
        fit = fit_with_intervals(table, "chinchilla", FEW)
        plain = dataclasses.replace(fit.provenance, beyond={})
        for times, hits in held.items():
            c = frame["c"].max() * times
            n = 0.1 * (c / 6) ** 0.5
            at = {"n": n, "d": c / 6 / n}
            band = predict(fit, at)
            hits.append(bool(band.low <= truth(**at) <= band.high))
            narrow = predict(dataclasses.replace(fit, provenance=plain), at)
            assert band.low <= narrow.low and narrow.high <= band.high
        noise_alone.append(bool(narrow.low <= truth(**at) <= narrow.high))
    for hits in held.values():
        assert 88 <= sum(hits) <= 99
    assert sum(noise_alone) < 60  # what the bootstrap alone would claim to be 95


def right(noise: float = 0.003) -> Table:
    rng = np.random.default_rng(1)
    frame = study(rng)
    frame["loss"] = synthetic.chinchilla_loss(frame["n"], frame["d"]) * np.exp(
        noise * rng.standard_normal(len(frame))
    )
    return table_from_frame(frame, n="n", d="d", c="c", loss="loss")


def test_of_a_law_that_is_right_nothing_is_missed() -> None:
    exact = fit_with_intervals(right(noise=1e-7), "chinchilla", FEW)
    assert exact.provenance.beyond["slope"] < 1e-5
    noisy = fit_with_intervals(right(), "chinchilla", FEW)
    assert noisy.provenance.beyond["slope"] < 0.006


def test_within_the_rows_the_band_is_the_bootstraps(tmp_path: Path) -> None:
    fit = fit_with_intervals(right(), "chinchilla", FEW)
    plain = dataclasses.replace(
        fit, provenance=dataclasses.replace(fit.provenance, beyond={})
    )
    most = fit.provenance.beyond["most"]
    for times, same in ((0.5, True), (1.0, True), (30.0, False)):
        budget = most * times
        wide, narrow = (optimum_at(f, budget)["loss"] for f in (fit, plain))
        assert (wide == narrow) == same
        assert wide.value == narrow.value
    fit.save(tmp_path / "fit.json")
    assert Fit.load(tmp_path / "fit.json") == fit


def test_too_few_budgets_are_said_to_be_too_few() -> None:
    frame = synthetic.frame(noise=0.003, sizes=6, budgets=2).assign(c=1.0)
    frame["c"] = np.repeat([1e20, 2e20], 6)
    frame["d"] = frame["c"] / 6 / frame["n"]
    frame["loss"] = synthetic.chinchilla_loss(frame["n"], frame["d"])
    table = table_from_frame(frame, n="n", d="d", c="c", loss="loss")
    fit = fit_with_intervals(table, "chinchilla", FEW)
    assert np.isnan(fit.provenance.beyond["slope"])
    assert Beyond(most=1.0, slope=np.nan, cutoffs=0).error(np.array([9.0])) == 0.0


def test_the_scale_of_a_law_is_its_compute_or_its_only_column() -> None:
    n, d = np.array([2.0]), np.array([3.0])
    assert scale_of({"n": n, "d": d}, 6.0) == pytest.approx(36.0)
    assert scale_of({"x": n, "kind": d}, 6.0) == pytest.approx(2.0)
    assert scale_of({"n": n, "bits": d}, 6.0) is None
