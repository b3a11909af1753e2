"""One law for several groups, and how much compute one of them saves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.errors import AnalysisError
from analysis.fitting.fit import fit_law
from analysis.laws import get_law
from analysis.laws.grouped import constants_of_group, group_number, grouped, labels_of
from analysis.optimal.speedup import multiplier_at, needed, speedup
from analysis.tables.table import Table, table_from_frame
from analysis.uncertainty.intervals import fit_with_intervals
from analysis.uncertainty.units import Bootstrap
from tests.analysis import synthetic
from tests.analysis.synthetic import TRUTH

FACTORS = {"adamw": 1.0, "muon": 0.9, "sgd": 1.4}
SHARED = ("E", "alpha", "beta")


def study(noise: float, seed: int = 0, factors: dict[str, float] = FACTORS) -> Table:
    """Recipes whose reducible loss is a factor apart at every scale."""
    frames = []
    for number, (name, factor) in enumerate(factors.items()):
        frame = synthetic.frame(sizes=5, budgets=5)
        rng = np.random.default_rng([seed, number])
        reducible = frame["loss"] - TRUTH["E"]
        frame["loss"] = (TRUTH["E"] + factor * reducible) * np.exp(
            noise * rng.standard_normal(len(frame))
        )
        frames.append(frame.assign(recipe=name, kind=number))
    whole = pd.concat(frames, ignore_index=True)
    roles = {k: k for k in ("n", "d", "c", "loss", "kind")}
    return table_from_frame(whole, **roles)


def test_shared_exponents_and_own_coefficients_come_back() -> None:
    law = grouped(get_law("chinchilla"), list(FACTORS), SHARED)
    found = fit_law(study(0.0), law)
    for name in SHARED:
        assert found.constants[name] == pytest.approx(TRUTH[name], rel=1e-5)
    for label, factor in FACTORS.items():
        own = constants_of_group(found.constants, label)
        assert own["A"] == pytest.approx(factor * TRUTH["A"], rel=1e-4)
        assert own["B"] == pytest.approx(factor * TRUTH["B"], rel=1e-4)
    assert set(found.derived) == {"a", "b"}  # of the shared exponents: one for all
    apart = fit_law(study(0.0), grouped(get_law("chinchilla"), list(FACTORS), ()))
    assert "a@muon" in apart.derived


def test_groups_with_nothing_in_common_are_fits_of_their_own() -> None:
    table = study(0.01)
    together = fit_law(table, grouped(get_law("chinchilla"), list(FACTORS), ()))
    for number, label in enumerate(FACTORS):
        alone = fit_law(table.where(f"kind == {number}"))
        own = constants_of_group(together.constants, label)
        for name, value in alone.constants.items():
            assert own[name] == pytest.approx(value, rel=1e-4)


def test_the_compute_that_a_group_needs_is_the_closed_form() -> None:
    """For E + f (A n^-α + B d^-β) the loss at C is E + f K C^-γ, γ = αβ/(α+β)."""
    law = grouped(get_law("chinchilla"), list(FACTORS), SHARED)
    constants = {k: TRUTH[k] for k in SHARED}
    for label, factor in FACTORS.items():
        constants[f"A@{label}"] = factor * TRUTH["A"]
        constants[f"B@{label}"] = factor * TRUTH["B"]
    gamma = 0.34 * 0.28 / 0.62
    for label, factor in FACTORS.items():
        more = needed(law, constants, "adamw", label, 1e21) / 1e21
        assert more == pytest.approx(factor ** (1 / gamma), rel=1e-6)


def test_intervals_of_the_multiplier_hold_the_truth() -> None:
    truth = 0.9 ** (0.62 / (0.34 * 0.28))
    law = grouped(get_law("chinchilla"), list(FACTORS), SHARED)
    held = 0
    for seed in range(40):
        found = fit_with_intervals(
            study(0.005, seed), law, Bootstrap(replicas=200, seed=seed)
        )
        band = multiplier_at(found, "muon", "adamw", 1e21)
        held += bool(band.low <= truth <= band.high)
    assert held >= 34


def test_the_name_of_a_grouped_law_is_enough() -> None:
    law = grouped(get_law("chinchilla"), ["a | b", "c, d = 1; x"], ["E"])
    again = get_law(law.name)
    assert again is get_law(law.name)
    assert labels_of(again) == ["a | b", "c, d = 1; x"]
    assert again.parameter_names == law.parameter_names
    changed = get_law("chinchilla[E=1.69]{x|y; share alpha, beta}")
    assert changed.parameter_names == ("alpha", "beta", "A@x", "B@x", "A@y", "B@y")
    assert group_number(changed, "y") == 1.0
    with pytest.raises(AnalysisError, match=r"has groups .x; y.: name one with --gr"):
        group_number(changed, None)


@pytest.mark.parametrize(
    ("labels", "shared", "message"),
    [
        (["a"], (), "groups are two or more"),
        (["a", "a"], (), "groups are two or more"),
        (["a", "b"], ("gamma",), "no constant 'gamma' to share"),
        (["a", "b"], ("E", "A", "B", "alpha", "beta"), "--pool fits them together"),
    ],
)
def test_groups_that_are_none_get_one_line(labels, shared, message) -> None:
    with pytest.raises(AnalysisError, match=message):
        grouped(get_law("chinchilla"), labels, shared)


def frontiers(noise: float, factors: dict[str, float], seed: int = 0) -> Table:
    """Recipes at eight budgets, three seeds each, on L = E + f b C^-c."""
    c = np.tile(np.geomspace(1e18, 1e22, 8), 3)
    frames = [
        pd.DataFrame(
            {
                "c": c,
                "seed": np.repeat(range(3), 8),
                "recipe": name,
                "loss": (1.7 + factor * 300 * c**-0.12)
                * np.exp(noise * np.random.default_rng([seed, i]).standard_normal(24)),
            }
        )
        for i, (name, factor) in enumerate(factors.items())
    ]
    whole = pd.concat(frames, ignore_index=True)
    return table_from_frame(whole, c="c", loss="loss", seed="seed")


def test_a_speed_up_is_found_at_all_budgets_and_at_each() -> None:
    truth = {k: (1 / f) ** (1 / 0.12) for k, f in FACTORS.items()}
    found = speedup(frontiers(0.001, FACTORS), "recipe", "adamw", Bootstrap())
    assert [m.label for m in found.pooled] == ["muon", "sgd"]
    for m in found.pooled:
        assert m.shown and m.compute is None
        assert m.band.low <= truth[m.label] <= m.band.high
        assert m.band.value == pytest.approx(truth[m.label], rel=0.1)
    assert len(found.at_budgets) == 6
    for m in found.at_budgets:
        assert m.band.value == pytest.approx(truth[m.label], rel=0.35)
    turned = speedup(frontiers(0.001, FACTORS), "recipe", "muon", Bootstrap())
    adamw = next(m for m in turned.pooled if m.label == "adamw")
    assert adamw.band.value == pytest.approx(1 / found.pooled[0].band.value, rel=1e-3)


def test_what_seeds_could_have_made_is_not_shown() -> None:
    """Of 40 pairs of equal recipes at most 5 seem to differ (2 are expected)."""
    equal = {"a": 1.0, "b": 1.0}
    shown = [
        speedup(
            frontiers(0.005, equal, seed), "recipe", None, Bootstrap(replicas=200)
        ).pooled[0]
        for seed in range(40)
    ]
    assert sum(m.shown for m in shown) <= 5


def test_recipes_that_cannot_be_compared_are_said_so() -> None:
    table = frontiers(0.001, FACTORS)
    with pytest.raises(AnalysisError, match="no value 'lion'; it has adamw, muon, sgd"):
        speedup(table, "recipe", "lion", Bootstrap())
    with pytest.raises(AnalysisError, match="nothing to compare"):
        speedup(table.where("recipe == 'sgd'"), "recipe", None, Bootstrap())
    with pytest.raises(AnalysisError, match="budgets on its frontier; 4 are needed"):
        speedup(table.where("c < 1e19"), "recipe", None, Bootstrap())
    with pytest.raises(AnalysisError, match="no column 'optimiser' to group by"):
        speedup(table, "optimiser", None, Bootstrap())
