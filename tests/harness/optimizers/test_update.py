"""Schedules by their formulas, optimisers against optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from harness import OptimSpec
from harness.errors import SpecError
from harness.optimizers.schedules import learning_rates
from harness.optimizers.update import Hyper, hyper, transform
from harness.specs.optim import Optimizer, Schedule
from harness.specs.registry import find, implementation


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


@pytest.mark.parametrize("base", [Optimizer, Schedule])
def test_every_choice_has_an_implementation(base):
    for name in base.known:
        assert callable(implementation(find(base, name)))


def test_a_decay_begins_at_the_peak_and_ends_at_the_share_that_is_left():
    for name, schedule in Schedule.known.items():
        optim = OptimSpec(
            schedule=name, **({"final": 0.3} if "final" in schedule.reads else {})
        )
        ends = implementation(schedule)(np.array([0.0, 1.0]), optim)
        np.testing.assert_allclose(ends, [1, 0.3 if schedule.anneals else 1])


@pytest.mark.parametrize("name", sorted(Optimizer.known))
def test_an_optimiser_keeps_as_many_copies_as_it_says(name):
    optim = OptimSpec(optimizer=name)
    state = transform(name, hyper(optim)).init({"w": jnp.zeros((3, 5))})
    moments = [leaf for leaf in jax.tree.leaves(state) if leaf.shape == (3, 5)]
    assert optim.state_copies == 2 + len(moments)


def test_all_that_a_step_reads_is_traced():
    of_the_rate = {"optimizer", "lr", "schedule", "warmup", "cooldown", "final"}
    assert set(Hyper._fields) == set(OptimSpec.__dataclass_fields__) - of_the_rate


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "adam"}, "'adam'; did you mean adamw.*known are adamw, sgd"),
        ({"schedule": "steps"}, "no schedule 'steps'; known are constant, cosine"),
        ({"optimizer": "sgd", "eps": 1e-6}, "eps 1e-06 has no effect with sgd"),
        ({"schedule": "cosine", "cooldown": 0.5}, "no effect with cosine"),
    ],
)
def test_an_unknown_choice_or_an_idle_field_is_refused(changes, message):
    with pytest.raises(SpecError, match=message):
        OptimSpec(**changes)


def test_a_choice_reads_only_what_there_is():
    with pytest.raises(SpecError, match="Odd reads rho; an optimizer can read beta1"):

        class Odd(Optimizer):
            optimizer = "odd"
            reads = ("rho",)

    with pytest.raises(SpecError, match=r"'sgd' of .*Twice is taken by harness"):

        class Twice(Optimizer):
            optimizer = "sgd"


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
