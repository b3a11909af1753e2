"""Controls: the interval fitted to the stored runs contains what theory says."""

from pathlib import Path

import pytest

from analysis.tables.table import read_table
from analysis.uncertainty.intervals import fit_with_intervals
from analysis.uncertainty.units import Bootstrap, advise
from harness import ZipfMarkov

RESULTS = Path(__file__).parent.parent / "results"
ENTROPY = ZipfMarkov(vocab=16).entropy


@pytest.mark.parametrize(
    ("name", "where", "x", "known"),
    [
        ("power_law_features", "batch == 32", "n_matmul", 1),
        ("power_law_features", "batch == 64", "tokens", 1 / 2),
        ("power_law_features", "batch == 16", "flops_train", 1 / 3),
        ("manifold_teacher", "data.dimension == 3", "n_matmul", 4 / 3),
        ("manifold_teacher", "data.dimension == 4", "n_matmul", 1),
        ("manifold_teacher", "data.dimension == 6", "n_matmul", 4 / 6),
    ],
)
def test_exponents_are_found(name, where, x, known):
    table = read_table(RESULTS / name, x=x, where=where, duplicates="keep")
    fit = fit_with_intervals(table, "power", Bootstrap(kind=advise(table).kind))
    low, high = fit.intervals["c"]
    assert low < known < high
    assert high < 2.5 * low, "an interval that says nothing contains everything"


@pytest.mark.parametrize(
    ("where", "x", "known"),
    [("batch == 128", "n_matmul", 1), ("batch == 64", "tokens", 1 / 2)],
)
def test_few_tasks_give_the_exponents_of_endless_ones_within_a_tenth(where, x, known):
    table = read_table(RESULTS / "sparse_parity", x=x, where=where, duplicates="keep")
    fit = fit_with_intervals(table, "power", Bootstrap(kind=advise(table).kind))
    low, high = fit.intervals["c"]
    assert fit.constants["c"] == pytest.approx(known, rel=0.1)
    assert high < 1.2 * low


def test_the_irreducible_loss_is_the_entropy():
    table = read_table(
        RESULTS / "zipf_markov", x="tokens", run="seed_data", duplicates="keep"
    )
    fit = fit_with_intervals(table, "power_constant", Bootstrap(kind="run"))
    low, high = fit.intervals["E"]
    assert low < ENTROPY < high
    assert high - low < 0.01
