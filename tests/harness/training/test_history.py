"""What a run has seen: kept in few bytes, and told to the bit."""

import json
import math

import numpy as np
import pytest

from harness.training.history import History


def test_a_history_is_told_as_json_to_the_bit():
    history = History()
    history.add_losses(np.float32([0.1, 2.0, 3e-41]))
    history.add_evaluation(3, np.float32([0.5, 0.7]), {"accuracy": 0.25}, {})
    history.add_losses(np.float32([1.5, np.inf, 7.0]))
    assert history.diverged_step == 4
    told = History.from_json(json.loads(json.dumps(history.to_json())))
    assert told == history
    assert list(told.losses) == [*map(float, np.float32([0.1, 2, 3e-41, 1.5, np.inf]))]


def test_a_branch_goes_on_without_its_trunk():
    trunk = History()
    trunk.add_losses(np.float32([1.0, 2.0]))
    branch = trunk.branch()
    branch.add_losses(np.float32([3.0]))
    assert (list(trunk.losses), list(branch.losses)) == ([1, 2], [1, 2, 3])


def test_mean_losses_are_of_double_precision():
    history = History()
    history.add_losses(np.full(100_000, 0.1, np.float32))
    assert history.mean_loss(0, 100_000) == np.float64(np.float32(0.1))
    assert history.mean_loss(-32) == np.float64(np.float32(0.1))


GUESS = math.log(256)


def ended(train, held_out, spread=0.01):
    """A history of these training losses and evaluations (step, loss)."""
    history = History()
    history.add_losses(np.float32(train))
    noise = np.array([-spread, spread] * 50)
    for step, loss in held_out:
        history.add_evaluation(step, loss + noise, {}, {})
    return history


DIVERGED = {
    "rose from its first evaluation": ([5.6] * 4 + [9.0] * 60, [(1, 5.6), (64, 9.0)]),
    "blew up in the first step": ([5.6] + [3e4] * 63, [(1, 1e5), (64, 2e4)]),
    "blew up and came down to 8": ([5.6] + [9.0] * 63, [(1, 30.0), (64, 8.0)]),
}
LEARNT = {
    "learnt": ([5.6] + [3.0] * 63, [(1, 5.58), (64, 3.0)]),
    "blew up and recovered": ([5.6] + [4.0] * 63, [(1, 1e5), (64, 4.0)]),
    "a hair above by noise": ([5.546] * 4, [(1, 5.546), (4, 5.548)]),
    "on its way from a bad start": ([9.0] * 4, [(1, 8.9), (4, 8.5)]),
    "overfitted": ([5.6] + [0.1] * 63, [(1, 5.6), (64, 9.0)]),
    "not evaluated": ([5.6], []),
}


@pytest.mark.parametrize("name", [*DIVERGED, *LEARNT])
def test_a_run_that_ends_above_its_untrained_model_has_learnt_nothing(name):
    history = ended(*(DIVERGED | LEARNT)[name])
    assert history.has_learnt_nothing(GUESS) == (name in DIVERGED)


def test_real_targets_have_no_guess_but_their_start():
    assert ended([1.0] + [50.0] * 9, [(1, 1e3), (10, 40.0)]).has_learnt_nothing(0.0)
    assert ended([1.0] * 10, [(1, 1.0), (10, 1.3)]).has_learnt_nothing(0.0) is False
    steady = ended([1.0] * 10, [(1, 1.0), (10, 1.2)], spread=2.0)
    assert not steady.has_learnt_nothing(0.0)
