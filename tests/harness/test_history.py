"""What a run has seen: kept in few bytes, and told to the bit."""

import json

import numpy as np

from harness.history import History


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
