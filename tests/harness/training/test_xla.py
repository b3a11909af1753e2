"""The compiler's settings: made where only CPUs are, and beside the user's own."""

import os
import subprocess
import sys

import pytest

from harness.training import xla

CPU = {"JAX_PLATFORMS": "cpu"}


def settings(environment):
    xla.vectorise(environment)
    return environment.get("XLA_FLAGS")


def test_cpus_get_the_option_once():
    environment = dict(CPU)
    assert settings(environment) == xla.SHORT_LOOPS
    assert settings(environment) == xla.SHORT_LOOPS


def test_flags_of_the_user_stay():
    mine = "--xla_cpu_enable_fast_math=false"
    assert settings(CPU | {"XLA_FLAGS": mine}) == f"{mine} {xla.SHORT_LOOPS}"
    llvm = f"{xla.OPTIONS}=-unroll-threshold=10"
    assert settings(CPU | {"XLA_FLAGS": llvm}) == llvm


@pytest.mark.parametrize("platforms", ["cuda", "cuda,cpu", "tpu"])
def test_an_accelerators_compiler_is_left_alone(platforms):
    assert settings({"JAX_PLATFORMS": platforms}) is None


def test_an_installed_plugin_is_an_accelerator(monkeypatch):
    monkeypatch.setattr(xla.importlib.util, "find_spec", lambda name: None)
    assert settings({}) == xla.SHORT_LOOPS
    monkeypatch.setattr(
        xla.importlib.util, "find_spec", lambda name: name == "libtpu" or None
    )
    assert settings({}) is None


def test_importing_the_harness_makes_the_setting_and_jax_starts_with_it():
    """LLVM ends the process where it does not know an option."""
    code = "import harness, jax, os; jax.devices(); print(os.environ['XLA_FLAGS'])"
    clean = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    ran = subprocess.run(
        [sys.executable, "-c", f"{code}; jax.jit(lambda x: x + 1)(1.0)"],
        env=clean | CPU,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == xla.SHORT_LOOPS
