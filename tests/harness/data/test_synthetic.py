"""The controls are what their theory supposes: spectra, frequencies, entropies."""

import itertools
import math

import numpy as np
import pytest

from harness import (
    ManifoldTeacher,
    PowerLawFeatures,
    RandomFeatures,
    SparseParity,
    TwoMoons,
    ZipfMarkov,
)
from harness.data.dataset import load
from harness.data.synthetic import read
from harness.errors import SpecError

SOURCES = [
    PowerLawFeatures(inputs=32, unique_examples=500, eval_examples=100),
    ManifoldTeacher(unique_examples=500, eval_examples=100),
    SparseParity(unique_examples=500, eval_examples=100),
    TwoMoons(unique_examples=500, eval_examples=100),
    ZipfMarkov(unique_tokens=500 * 64, eval_sequences=100),
]


@pytest.mark.parametrize("spec", SOURCES, ids=lambda s: s.source)
def test_smaller_sets_lie_inside_larger_ones_and_seeds_differ(spec):
    size = "unique_tokens" if isinstance(spec, ZipfMarkov) else "unique_examples"
    fewer = type(spec)(
        **{f: getattr(spec, f) for f in spec.__dataclass_fields__}
        | {size: getattr(spec, size) // 5}
    )
    large, small, other = (
        load(s, seed) for s, seed in ((spec, 7), (fewer, 7), (spec, 8))
    )
    for name, array in small.train.items():
        assert np.array_equal(array, large.train[name][:100])
        assert not np.array_equal(array, other.train[name][:100])
    for name, array in small.held_out.items():
        assert np.array_equal(array, large.held_out[name])
        assert not np.array_equal(array, large.train[name][:100])


def test_power_law_features_have_the_spectrum_and_unit_targets():
    spec = PowerLawFeatures(inputs=64, spectrum=1.5, unique_examples=40000)
    train = load(spec, 0).train
    found = train["x"].var(axis=0)
    slope = np.polyfit(np.log(np.arange(1, 65)), np.log(found), 1)[0]
    assert slope == pytest.approx(-2.5, abs=0.02)
    assert train["y"].var() == pytest.approx(1, abs=0.03)
    np.testing.assert_allclose(train["x"].sum(axis=1), train["y"][:, 0], atol=1e-4)
    noisy = load(PowerLawFeatures(inputs=64, noise=0.5), 0).train
    assert (noisy["y"][:, 0] - noisy["x"].sum(axis=1)).std() == pytest.approx(
        0.5, abs=0.01
    )


def test_a_manifold_of_dimension_k_has_k_directions_at_each_point():
    """Neighbours of a point of a curve in 16 dimensions lie along one line."""
    spec = ManifoldTeacher(dimension=1, inputs=16, unique_examples=20000)
    train = load(spec, 0).train
    x = train["x"]
    near = x[np.argsort(np.square(x - x[0]).sum(axis=1))[:20]]
    scales = np.linalg.svd(near - near.mean(axis=0), compute_uv=False)
    assert scales[1] < 0.05 * scales[0]
    assert np.linalg.matrix_rank(x[:2000], tol=1e-2 * np.linalg.norm(x[:2000])) > 2
    assert train["y"].var() == pytest.approx(1, abs=0.05)


def test_parities_are_those_of_fixed_sets_met_as_often_as_said():
    spec = SparseParity(tasks=20, bits=8, order=2, alpha=0.5, unique_examples=60000)
    train = load(spec, 3).train
    task, bits = train["x"][:, :20].argmax(axis=1), train["x"][:, 20:] > 0
    assert (train["x"][:, :20].sum(axis=1) == 1).all()
    expected = read.task_probabilities(spec)
    np.testing.assert_allclose(np.bincount(task) / 60000, expected, atol=0.008)
    assert expected[0] / expected[7] == pytest.approx(8**1.5)
    asked = set()
    for t in range(20):
        mine = task == t
        sets = [
            pair
            for pair in itertools.combinations(range(8), 2)
            if (bits[mine][:, pair].sum(axis=1) % 2 == train["y"][mine]).all()
        ]
        assert len(sets) == 1
        asked.add(sets[0])
    assert len(asked) == 20


def test_the_best_loss_on_the_markov_source_is_its_entropy():
    spec = ZipfMarkov(vocab=12, exponent=1.2, unique_tokens=2**21, eval_sequences=4096)
    dataset = load(spec, 5)
    matrix = read.transitions(spec, 5)
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    rows = -np.sum(matrix * np.log(matrix), axis=1)
    np.testing.assert_allclose(rows, spec.entropy)
    x, y = dataset.gather(dataset.train, np.arange(2**15))
    counts = np.zeros((12, 12))
    np.add.at(counts, (x.ravel(), y.ravel()), 1)
    np.testing.assert_allclose(
        counts / counts.sum(axis=1, keepdims=True), matrix, atol=0.006
    )
    held_x, held_y = dataset.gather(dataset.held_out, dataset.eval_offsets)
    losses = -np.log(matrix[held_x, held_y])
    error = losses.std() / math.sqrt(losses.size)
    assert abs(losses.mean() - spec.entropy) < 4 * error < 0.01


def test_two_moons_interleave_and_have_equal_shares():
    train = load(TwoMoons(noise=0.0, unique_examples=4000), 0).train
    x, side = train["x"], train["y"][:, 0]
    assert set(side) == {-1.0, 1.0} and abs(side.mean()) < 0.05
    # Each half circle of radius 1 lies around a centre of its own.
    for one, centre in ((-1, (0.5, 0.25)), (1, (-0.5, -0.25))):
        radius = np.linalg.norm(x[side == one] - centre, axis=1)
        np.testing.assert_allclose(radius, 1, rtol=1e-5)
    assert (x[side == 1][:, 1] >= -0.25).all() and (x[side == -1][:, 1] <= 0.25).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PowerLawFeatures(spectrum=0.0), "must be positive"),
        (lambda: ManifoldTeacher(dimension=9, inputs=16), "at least 18"),
        (lambda: SparseParity(tasks=30, bits=8, order=2), "fewer than 30 different"),
        (lambda: ZipfMarkov(unique_tokens=100), "not a multiple of context 64"),
    ],
)
def test_controls_that_make_no_sense(make, message):
    with pytest.raises(SpecError, match=message):
        make()


def test_random_features_count_what_they_compute():
    import jax
    import jax.numpy as jnp

    from harness.families.build import build
    from tests.harness.jaxpr_flops import matmul_flops

    model = RandomFeatures(width=24)
    task = PowerLawFeatures(inputs=32).shape
    built = build(model, task)
    params = built.init(jax.random.key(0))
    assert sum(p.size for p in jax.tree.leaves(params)) == model.params(task).total
    x = jnp.ones((5, 32))
    flops = model.forward_flops(task)
    assert matmul_flops(built.apply, params, x) == 5 * flops.full
    both = jax.value_and_grad(lambda p: built.apply(p, x).sum())
    assert matmul_flops(both, params) == 5 * flops.train()
    other = build(RandomFeatures(width=24, features_seed=1), task)
    ones = jax.tree.map(jnp.ones_like, params)
    assert not np.allclose(built.apply(ones, x), other.apply(ones, x))
