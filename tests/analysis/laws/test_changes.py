"""Laws with constants held, bounded, tied or free of their sign."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.errors import AnalysisError
from analysis.fitting.fit import fit_law
from analysis.fitting.record import Fit
from analysis.laws import get_law
from analysis.tables.table import table_from_frame
from analysis.uncertainty.intervals import fit_with_intervals
from analysis.uncertainty.predictions import optimum_at
from analysis.uncertainty.units import Bootstrap
from tests.analysis import synthetic
from tests.analysis.synthetic import TRUTH


def test_a_held_constant_is_as_if_the_law_had_none_such() -> None:
    table = synthetic.table(noise=0.01)
    held = fit_law(table, "chinchilla[E=1.69]")
    assert list(held.constants) == ["A", "B", "alpha", "beta"]
    free = fit_law(table)
    assert held.objective >= free.objective
    for name, value in held.constants.items():
        assert value == pytest.approx(TRUTH[name], rel=0.2)
    assert set(held.derived) == {"a", "b"}
    # At the free fit's own value nothing changes.
    same = fit_law(table, f"chinchilla[E={free.constants['E']!r}]")
    assert same.objective == pytest.approx(free.objective, rel=1e-9)


def test_tied_exponents_are_the_law_that_has_one() -> None:
    table = synthetic.table(noise=0.01)
    tied = fit_law(table, "chinchilla[beta=alpha]")
    own = fit_law(table, "tied")
    for name in ("E", "A", "B", "alpha"):
        assert tied.constants[name] == pytest.approx(own.constants[name], rel=1e-6)
    assert tied.derived["a"] == pytest.approx(0.5)


def test_bounds_hold_and_are_told_where_they_do() -> None:
    table = synthetic.table(noise=0.01)
    found = fit_law(table, "chinchilla[alpha=0.4:0.6, E=:1.5]")
    assert found.constants["alpha"] == pytest.approx(0.4)
    assert found.constants["E"] <= 1.5
    assert "at_bound" in found.diagnostics.flags
    wide = fit_law(table, "chinchilla[alpha=0.1:0.9]")
    assert wide.constants == pytest.approx(fit_law(table).constants, rel=1e-6)


def test_a_constant_of_either_sign_is_found_with_its_sign() -> None:
    frame = pd.DataFrame({"x": np.geomspace(1e6, 1e10, 9)})
    frame["y"] = 0.02 * frame["x"] ** 0.15
    table = table_from_frame(frame, x="x", loss="y")
    grows = fit_law(table, "power[c=any]")
    assert grows.constants["c"] == pytest.approx(-0.15, rel=1e-6)
    assert grows.diagnostics.flags == ()


def test_laws_with_starts_of_their_own_are_changed_too() -> None:
    law = get_law("sigmoidal")
    truth = {"b": 40.0, "c": 0.4, "E": 0.2, "e0": 1.0, "a": 0.6}
    x = np.geomspace(1e3, 1e9, 40)
    frame = pd.DataFrame({"x": x, "y": law.losses(truth, {"x": x})})
    table = table_from_frame(frame, x="x", loss="y")
    held = fit_law(table, "sigmoidal[E=0.2, e0=1]")
    for name in ("b", "c", "a"):
        assert held.constants[name] == pytest.approx(truth[name], rel=1e-3)


def test_the_name_of_a_changed_law_is_enough_to_predict_with_it(tmp_path: Path) -> None:
    table = synthetic.table(noise=0.01)
    found = fit_with_intervals(
        table, "chinchilla[E=1.69,beta=alpha]", Bootstrap(replicas=50)
    )
    found.save(tmp_path / "fit.json")
    again = Fit.load(tmp_path / "fit.json")
    assert again.law == "chinchilla[E=1.69, beta=alpha]"
    assert again == found
    band = optimum_at(again, 1e22)["n"]
    assert band.low < band.value < band.high
    assert get_law(again.law) is get_law(again.law)  # what was traced is kept


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("gamma=1", "has no constant 'gamma'; it has E, A, B, alpha, beta"),
        ("alpha", "'alpha' is no change of a constant: write NAME=VALUE"),
        ("alpha=x", "alpha=x is no change of a constant: give a number"),
        ("alpha=0.5:0.2", "alpha cannot lie between 0.5 and 0.2"),
        ("alpha=alpha", "alpha cannot be tied to itself"),
        ("E=1,A=1,B=1,alpha=1,beta=1", "has no constant left to fit"),
        ("alpha=1,beta=alpha", "no constant 'alpha'; it has E, A, B, beta"),
    ],
)
def test_changes_that_are_none_get_one_line(changes: str, message: str) -> None:
    with pytest.raises(AnalysisError, match=message):
        get_law(f"chinchilla[{changes}]")
