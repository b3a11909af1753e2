"""Schedules by their formulas."""

import dataclasses

import numpy as np
import pytest

from harness import WSD, AdamW, Constant, Cosine, InverseSqrt, Linear
from harness.errors import SpecError
from harness.schedules.rates import learning_rates
from harness.specs.registry import find, implementation
from harness.specs.schedule import Schedule
from tests.harness.strategies import mlp_run

SCHEDULES = [
    WSD(warmup=7, final=0.3),
    Cosine(warmup=7, final=0.3),
    Linear(warmup=7, final=0.3),
    Constant(warmup=7),
    InverseSqrt(warmup=7, timescale=7),
    InverseSqrt(timescale=20, cooldown=0.25),
]


def run_of(schedule, steps, lr=1.0):
    return mlp_run(optimizer=AdamW(lr=lr), schedule=schedule, steps=steps)


def rates(schedule, steps, lr=1.0):
    return learning_rates(run_of(schedule, steps, lr), 0, steps)


def test_wsd_warms_up_stays_and_cools_down_along_a_square_root():
    lr = rates(WSD(warmup=10, cooldown=0.25), 200, lr=2.0)
    np.testing.assert_allclose(lr[:10], 2 * np.arange(1, 11) / 10, rtol=1e-6)
    assert np.all(lr[10:150] == np.float32(2))
    np.testing.assert_allclose(
        lr[150:], 2 * (1 - np.sqrt(np.arange(50) / 50)), rtol=1e-6
    )


def test_cosine_goes_to_its_fraction():
    lr = rates(Cosine(warmup=20, final=0.1), 120)
    assert lr[70] == pytest.approx((1 + 0.1) / 2, rel=1e-5)
    assert lr[-1] == pytest.approx(0.1, abs=1e-3)
    assert np.all(np.diff(lr[20:]) <= 0)


def test_a_line_is_straight_down_to_its_fraction():
    lr = rates(Linear(warmup=20, final=0.1), 120)
    np.testing.assert_allclose(lr[20:], 1 - 0.9 * np.arange(100) / 100, rtol=1e-6)


def test_constant_stays():
    assert set(rates(Constant(), 50, lr=0.5)) == {np.float32(0.5)}


def test_inverse_sqrt_halves_at_four_times_its_scale_and_cools_down():
    lr = rates(InverseSqrt(timescale=100), 1000)
    assert np.all(lr[:100] == 1) and lr[399] == pytest.approx(0.5)
    assert not InverseSqrt(timescale=100).anneals
    cooled = rates(InverseSqrt(timescale=100, cooldown=0.5), 1000)
    assert np.array_equal(cooled[:500], lr[:500])
    np.testing.assert_allclose(cooled[750], lr[750] / 2, rtol=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_runs_of_different_length_share_their_trunk_to_the_bit(schedule):
    short, long = rates(schedule, 100, lr=0.0123), rates(schedule, 1000, lr=0.0123)
    shared = schedule.decay_start(100)
    assert shared >= 7 and np.array_equal(short[:shared], long[:shared])
    assert schedule.anneals == (shared < 100)


def test_rates_do_not_depend_on_how_steps_are_cut():
    run = run_of(WSD(warmup=5), 50)
    pieces = [learning_rates(run, a, b) for a, b in ((0, 3), (3, 41), (41, 50))]
    assert np.array_equal(np.concatenate(pieces), learning_rates(run, 0, 50))


@pytest.mark.parametrize("name", sorted(Schedule.known))
def test_every_schedule_has_an_implementation(name):
    assert callable(implementation(find(Schedule, name)))


@pytest.mark.parametrize("schedule", SCHEDULES[:3], ids=repr)
def test_a_decay_begins_at_the_peak_and_ends_at_the_share_that_is_left(schedule):
    schedule = dataclasses.replace(schedule, warmup=0)
    share = implementation(type(schedule))
    ends = share(np.array([schedule.decay_start(50), 50.0]), 50, schedule)
    np.testing.assert_allclose(ends, [1, 0.3])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: find(Schedule, "steps"), "no schedule 'steps'; known are constant, "),
        (lambda: Cosine(cooldown=0.5), "Cosine has no field 'cooldown'"),
        (lambda: InverseSqrt(), "InverseSqrt needs timescale"),
        (lambda: InverseSqrt(timescale=5, cooldown=1.5), r"not in \[0, 1\]"),
        (lambda: WSD(final=-1.0), "at least 0"),
    ],
)
def test_an_unknown_schedule_or_field_is_refused(make, message):
    with pytest.raises(SpecError, match=message):
        make()
