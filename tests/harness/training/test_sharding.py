"""Layouts: what is spread over devices, and that numbers stay what they are."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from harness.errors import SpecError
from harness.sweeps.options import TrainOptions
from harness.training.sharding import choose
from tests.harness.sharded import OPTIMIZERS
from tests.harness.strategies import text_run

UNOPTIMISED = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)


@pytest.fixture(scope="module")
def told():
    """What `tests.harness.sharded` finds on 8 simulated devices."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.harness.sharded"],
        capture_output=True,
        text=True,
        # What is compiled runs for a moment: optimising it would take a minute.
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": UNOPTIMISED},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "sharding",
    [
        "batch",
        "state",
        "spread and accumulated",
        "rematerialised",
    ],
)
def test_losses_agree_with_one_device(told, sharding):
    expected = told["losses"]["one device"]
    np.testing.assert_allclose(told["losses"][sharding], expected, rtol=2e-5)


def test_a_mixture_keeps_its_routing_and_its_penalty(told):
    expected = told["losses"]["experts, one device"]
    np.testing.assert_allclose(
        told["losses"]["experts, rematerialised"], expected, rtol=2e-5
    )


def test_large_arrays_are_divided_over_all_devices(told):
    assert told["share"]["state"] == 1 / 8
    assert told["share"]["batch"] == told["share"]["one device"] == 1
    assert told["memory"]["state"] < told["memory"]["batch"]


def test_a_batch_uses_as_many_devices_as_divide_it(told):
    assert told["devices"]["batch"] == 8
    assert told["devices"]["6 wanted"] == 4
    assert told["devices"]["3 wanted"] == 2
    assert told["devices"]["population of 6"] == 3


def test_gradients_are_exchanged_and_a_population_exchanges_nothing(told):
    assert "all-reduce" in told["exchanges"]["batch"]
    assert "all-gather" in told["exchanges"]["state"]
    for alone in ("one device", "population of 8", "population of 6"):
        assert told["exchanges"][alone] == []


@pytest.mark.parametrize("count", [8, 6])
def test_a_population_over_devices_is_the_population_on_one(told, count):
    one, spread = (
        told["losses"][f"population of {count}{x}"] for x in ("", ", spread")
    )
    np.testing.assert_allclose(spread, one, rtol=2e-5)


def test_a_spread_run_is_resumed_to_the_bit(told):
    assert 0 < told["resumed at"] < 12
    assert told["losses"]["kept"] == told["losses"]["resumed"]
    assert told["losses"]["kept"] == told["losses"]["state"]


def test_what_cannot_be_laid_out_is_refused():
    run = text_run(batch=4)
    with pytest.raises(SpecError, match=r"batch of 4 .* over 3 equal parts"):
        choose(TrainOptions(accumulate=3), run, 1)
    with pytest.raises(SpecError, match="64 devices are wanted; jax sees"):
        choose(TrainOptions(devices=64), run, 1)
    with pytest.raises(SpecError, match="devices is 0"):
        TrainOptions(devices=0)


@pytest.mark.parametrize("optimizer", [o.name for o in OPTIMIZERS])
def test_every_optimiser_agrees_with_one_device_on_eight(told, optimizer):
    one, eight = (
        told["losses"][f"{optimizer}, {layout}"][0]
        for layout in ("one device", "state")
    )
    np.testing.assert_allclose(eight, one, rtol=2e-3)
    assert one[-1] < one[0]
    assert told["share"][f"{optimizer}, state"] == 1 / 8
