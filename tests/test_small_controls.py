"""Controls at a scale that trains in seconds: the fitted exponent is the known one.

Each sweep is a smaller one of `experiments/controls`, trained by a worker into a store
and fitted from it. An interval must contain what theory says and end within 30 % of it,
so that an exponent which is off by that much fails.
"""

from analysis.tables.table import read_table
from analysis.uncertainty.intervals import fit_with_intervals
from analysis.uncertainty.units import Bootstrap
from harness import (
    MLP,
    SGD,
    WSD,
    AdamW,
    ManifoldTeacher,
    PowerLawFeatures,
    RandomFeatures,
    RunSpec,
    SparseParity,
    Transformer,
    ZipfMarkov,
    product,
    with_seeds,
)
from harness.store import add_sweep, create_store, refresh_runs
from harness.sweeps.options import WorkerOptions
from harness.sweeps.plan import plan, sweep_record
from harness.workers.worker import work
from tests.harness.strategies import ALONE

SEEDS = ("seed_init", "seed_order", "seed_data")


def fitted(folder, points, law, x, *, group=None):
    """The law in `x`, fitted to the store that a worker has trained.

    The bootstrap draws rows, or whole groups: the values of the column `group`.
    """
    made, store = plan(points), create_store(folder)
    add_sweep(store, sweep_record(made, name="small", doc="Does it hold?"))
    work(store, made, options=WorkerOptions(train=ALONE))
    refresh_runs(store)
    table = read_table(folder, x=x, group=group, duplicates="keep")
    assert len(table) == len(points)
    kind = "row" if group is None else "group"
    return fit_with_intervals(table, law, Bootstrap(kind=kind, replicas=500))


def is_found(interval, known, within):
    """Whether the interval contains `known` and nothing farther off than `within`."""
    low, high = interval
    return known * (1 - within) < low < known < high < known * (1 + within)


def test_an_exponent_that_is_off_by_the_tolerance_is_not_found():
    assert is_found((0.9, 1.2), 1, 0.3)
    for interval in ((0.6, 0.8), (1.1, 1.2), (0.5, 1.2), (0.9, 1.5)):
        assert not is_found(interval, 1, 0.3)


def test_random_features_learn_as_the_root_of_the_examples(tmp_path):
    base = RunSpec(
        model=RandomFeatures(width=1024),
        data=PowerLawFeatures(inputs=512, spectrum=1.0, unique_examples=2**15),
        optimizer=SGD(lr=0.2, clip=0.0),
        schedule=WSD(),
        batch=64,
        evals_per_octave=1,
    )
    points = product(base, {"steps": [2**k for k in range(5, 10)]})
    fit = fitted(
        tmp_path, with_seeds(points, range(3), fields=SEEDS), "power", "tokens"
    )
    assert is_found(fit.intervals["c"], 1 / 2, 0.1)


def test_parities_are_learned_as_the_root_of_the_examples(tmp_path):
    base = RunSpec(
        model=MLP(width=96, depth=1),
        data=SparseParity(tasks=48, bits=14, alpha=1.0, unique_examples=2**18),
        optimizer=SGD(lr=0.5, clip=0.0),
        schedule=WSD(warmup=16),
        batch=64,
        evals_per_octave=1,
    )
    points = product(base, {"steps": [2**k for k in range(7, 13)]})
    fit = fitted(
        tmp_path, with_seeds(points, range(3), fields=SEEDS), "power", "tokens"
    )
    assert is_found(fit.intervals["c"], 1 / 2, 0.2)


def test_the_irreducible_loss_of_a_markov_chain_is_its_entropy(tmp_path):
    base = RunSpec(
        model=Transformer(width=16, depth=1, heads=1),
        data=ZipfMarkov(vocab=8, context=16, unique_tokens=2**18, eval_sequences=4096),
        optimizer=AdamW(lr=2e-2),
        schedule=WSD(warmup=8),
        batch=64,
        evals_per_octave=1,
    )
    points = product(
        base, {"seed_data": range(6), "steps": [2**k for k in range(4, 9)]}
    )
    fit = fitted(tmp_path, points, "power_constant", "tokens")
    assert is_found(fit.intervals["E"], base.data.entropy, 0.005)


def test_the_error_on_a_manifold_falls_by_its_dimension(tmp_path):
    """A teacher moves the losses of all widths together: whole teachers are drawn."""
    base = RunSpec(
        model=MLP(width=8),
        data=ManifoldTeacher(dimension=4, unique_examples=2**15),
        optimizer=AdamW(lr=1e-2),
        schedule=WSD(warmup=50),
        batch=128,
        steps=1024,
        evals_per_octave=1,
    )
    points = with_seeds(
        product(base, {"model.width": [4, 8, 16]}), range(16), fields=SEEDS
    )
    fit = fitted(tmp_path, points, "power", "n_matmul", group="seed_data")
    assert is_found(fit.intervals["c"], 4 / base.data.dimension, 0.3)
