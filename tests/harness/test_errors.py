"""What a user reads of an error: its own words, and where in the user's code it is."""

import importlib.util

import jax
import pytest

from harness.errors import one_line


@pytest.fixture
def family(tmp_path):
    """A file of the user's whose function raises."""
    path = tmp_path / "family.py"
    path.write_text("def call(x):\n    raise ValueError('my bug:\\n shapes')\n")
    spec = importlib.util.spec_from_file_location("family", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_error_that_comes_through_jax_is_told_by_its_line(family):
    with pytest.raises(ValueError, match="my bug") as caught:
        jax.jit(family.call)(1.0)
    place = f"{family.__file__}:2"
    assert one_line(caught.value) == f"ValueError: my bug: shapes ({place})"


def test_an_error_of_nobodys_code_has_no_place():
    assert one_line(OSError("disk full")) == "OSError: disk full"
