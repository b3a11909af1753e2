"""Warnings of the numerics are errors in these tests."""

from __future__ import annotations

import os

import matplotlib
import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
matplotlib.use("Agg")


@pytest.fixture
def store(tmp_path):
    """A folder that looks like a finished results store, with known constants."""
    from tests.analysis.stores import write_store

    return write_store(tmp_path / "toy")
