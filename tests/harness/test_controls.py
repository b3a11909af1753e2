"""Controls at a small scale: the fitted interval contains the exponent of the theory.

These train real sweeps and fit them as `harness fit` does. The full-size versions are
in experiments/controls/.
"""

import pytest

from analysis.table import read_table
from analysis.uncertainty import Bootstrap, fit_with_intervals
from harness import (
    MLP,
    ManifoldTeacher,
    OptimSpec,
    PowerLawFeatures,
    RandomFeatures,
    RunSpec,
    SparseParity,
    Sweep,
    Transformer,
    ZipfMarkov,
    chain,
    product,
    with_seeds,
)
from harness.cli.experiment import Experiment
from harness.cli.sweeps import _sweep_record
from harness.plan import plan
from harness.store import add_sweep, create_store, refresh_runs
from harness.worker import work


@pytest.fixture
def trained(tmp_path):
    """Trains points as a worker does; gives their results folder."""

    def train(points):
        store = create_store(tmp_path)
        sweep = Sweep(points)
        found = Experiment(name="control", doc="", path=tmp_path, sweep=sweep)
        made = plan(sweep.points)
        add_sweep(store, _sweep_record(found, made))
        work(store, made)
        assert {run.run_id for run in made.runs} <= store.finished()
        refresh_runs(store)
        return tmp_path

    return train


def interval(folder, law, constant, *, x, where=None):
    table = read_table(folder, x=x, where=where, duplicates="keep")
    fit = fit_with_intervals(table, law, Bootstrap(replicas=400))
    low, high = fit.intervals[constant]
    assert high - low < 0.7, "an interval that says nothing contains everything"
    return low, high


def test_random_features_follow_the_spectrum(trained):
    data = PowerLawFeatures(inputs=512, unique_examples=16384, eval_examples=4096)
    sgd = {"optimizer": "sgd", "clip": 0.0}
    base = RunSpec(
        model=RandomFeatures(width=8),
        data=data,
        optim=OptimSpec(**sgd, lr=0.2),
        batch=16,
        evals_per_octave=1,
    )
    small = [
        RandomFeatures(width=w, features_seed=s)
        for w in (4, 6, 8, 12, 16)
        for s in range(3)
    ]
    to_the_end = OptimSpec(**sgd, lr=0.1, momentum=0.95)
    parameters = product(
        base, {"optim": [to_the_end], "batch": [32], "model": small, "steps": [1024]}
    )
    wide = [RandomFeatures(width=1024, features_seed=s) for s in range(3)]
    examples = product(base, {"model": wide, "steps": [64, 128, 256, 512]})
    folder = trained(chain(parameters, examples))
    low, high = interval(folder, "power", "c", x="n_matmul", where="batch == 32")
    assert low < 1 < high
    low, high = interval(folder, "power", "c", x="tokens", where="batch == 16")
    assert low < 0.5 < high


def test_a_manifold_of_three_dimensions_gives_four_thirds(trained):
    base = RunSpec(
        model=MLP(width=4),
        data=ManifoldTeacher(dimension=3, unique_examples=2**18),
        optim=OptimSpec(lr=5e-3, warmup=100),
        batch=128,
        steps=4096,
        evals_per_octave=1,
    )
    points = product(base, {"model.width": [4, 6, 8, 12, 16]})
    seeds = ("seed_init", "seed_order", "seed_data")
    folder = trained(with_seeds(points, [0, 1], fields=seeds))
    low, high = interval(folder, "power", "c", x="n_matmul")
    assert low < 4 / 3 < high


def test_parities_are_learned_in_the_order_of_their_frequency(trained):
    base = RunSpec(
        model=MLP(width=96, depth=1),
        data=SparseParity(
            tasks=128, bits=24, alpha=1.0, unique_examples=2**19, eval_examples=8192
        ),
        optim=OptimSpec(optimizer="sgd", lr=0.5, clip=0.0, warmup=16),
        batch=64,
        evals_per_octave=1,
    )
    points = product(base, {"steps": [2**k for k in range(8, 14)]})
    seeds = ("seed_init", "seed_order", "seed_data")
    folder = trained(with_seeds(points, [0, 1], fields=seeds))
    low, high = interval(folder, "power", "c", x="tokens")
    assert low < 0.5 < high


def test_the_irreducible_loss_of_a_markov_source_is_its_entropy(trained):
    data = ZipfMarkov(vocab=8, context=16, unique_tokens=2**20, eval_sequences=16384)
    base = RunSpec(
        model=Transformer(width=16, depth=1, heads=1),
        data=data,
        optim=OptimSpec(lr=5e-3, warmup=16),
        batch=32,
        evals_per_octave=1,
    )
    points = product(
        base, {"seed_data": [0, 1, 2], "steps": [128, 256, 512, 1024, 2048]}
    )
    folder = trained(points)
    low, high = interval(folder, "power_constant", "E", x="tokens")
    assert low < data.entropy < high
    assert high - low < 0.02
