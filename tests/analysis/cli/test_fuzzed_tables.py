"""A hundred mutated tables and option lists; `make fuzz-tables` tries two thousand."""

from __future__ import annotations

import pytest

from tests.analysis.fuzz import campaign

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


def test_mutated_tables_and_options_get_an_answer_or_one_line() -> None:
    assert campaign(100, 0) == []
