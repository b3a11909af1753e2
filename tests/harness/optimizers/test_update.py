"""Schedules by their formulas, optimisers against optax."""

from typing import get_args, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from harness import OptimSpec
from harness.optimizers.update import (
    DECAYS,
    DIRECTIONS,
    hyper,
    learning_rates,
    transform,
)
from harness.specs.run import ANNEALS, DECAY_STARTS, IDLE


def rates(spec, steps):
    return learning_rates(spec, steps, 0, steps)


def test_wsd_warms_up_stays_and_cools_down_along_a_square_root():
    lr = rates(OptimSpec(lr=2.0, warmup=10, cooldown=0.25), 200)
    np.testing.assert_allclose(lr[:10], 2 * np.arange(1, 11) / 10, rtol=1e-6)
    assert np.all(lr[10:150] == np.float32(2))
    np.testing.assert_allclose(
        lr[150:], 2 * (1 - np.sqrt(np.arange(50) / 50)), rtol=1e-6
    )


def test_cosine_goes_to_its_fraction():
    lr = rates(OptimSpec(lr=1.0, warmup=20, schedule="cosine", final=0.1), 120)
    assert lr[70] == pytest.approx((1 + 0.1) / 2, rel=1e-5)
    assert lr[-1] == pytest.approx(0.1, abs=1e-3)
    assert np.all(np.diff(lr[20:]) <= 0)


def test_constant_stays():
    assert set(rates(OptimSpec(lr=0.5, schedule="constant"), 50)) == {np.float32(0.5)}


@pytest.mark.parametrize("schedule", ["wsd", "constant"])
def test_runs_of_different_length_share_their_trunk_to_the_bit(schedule):
    spec = OptimSpec(lr=0.0123, warmup=7, schedule=schedule)
    short, long = rates(spec, 100), rates(spec, 1000)
    shared = spec.decay_start(100)
    assert shared >= 80 and np.array_equal(short[:shared], long[:shared])


def test_rates_do_not_depend_on_how_steps_are_cut():
    spec = OptimSpec(lr=0.1, warmup=5)
    pieces = [learning_rates(spec, 50, a, b) for a, b in ((0, 3), (3, 41), (41, 50))]
    assert np.array_equal(np.concatenate(pieces), rates(spec, 50))


@pytest.mark.parametrize(
    ("choice", "tables"),
    [
        ("optimizer", (IDLE, DIRECTIONS)),
        ("schedule", (IDLE, DECAY_STARTS, ANNEALS, DECAYS)),
    ],
)
def test_every_choice_is_in_every_table(choice, tables):
    known = get_args(get_type_hints(OptimSpec)[choice])
    for table in tables:
        assert set(known) <= table.keys()


def test_an_unknown_optimiser_or_schedule_trains_nothing():
    unknown = OptimSpec()
    object.__setattr__(unknown, "schedule", "unknown")
    with pytest.raises(KeyError, match="unknown"):
        learning_rates(unknown, 10, 0, 10)
    with pytest.raises(KeyError, match="unknown"):
        transform("unknown", hyper(unknown))


def run_steps(update, params, grads, lr):
    state = update.init(params)
    for _ in range(5):
        direction, state = update.update(grads, state, params)
        params = jax.tree.map(lambda p, u: p - lr * u, params, direction)
    return params


@pytest.mark.parametrize(
    ("spec", "reference"),
    [
        (
            OptimSpec(lr=0.1, weight_decay=0.3, beta1=0.8, beta2=0.9, clip=0.5),
            optax.chain(
                optax.clip_by_global_norm(0.5),
                optax.adamw(
                    0.1,
                    0.8,
                    0.9,
                    1e-8,
                    weight_decay=0.3,
                    mask=lambda p: jax.tree.map(lambda x: x.ndim >= 2, p),
                ),
            ),
        ),
        (
            OptimSpec(lr=0.1, optimizer="sgd", momentum=0.9, clip=0.0),
            optax.sgd(0.1, momentum=0.9),
        ),
    ],
)
def test_optimisers_are_optax(spec, reference):
    params = {"w": jnp.arange(6.0).reshape(2, 3), "b": jnp.ones(3)}
    grads = {"w": jnp.full((2, 3), 2.0), "b": jnp.arange(3.0)}
    ours = run_steps(transform(spec.optimizer, hyper(spec)), params, grads, spec.lr)
    theirs = run_steps(reference, params, grads, -1.0)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5), ours, theirs)
