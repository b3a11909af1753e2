"""Published numbers come out again, at the digits printed."""

from __future__ import annotations

from functools import cache

import pytest

from analysis.published import (
    MissingDataError,
    Outcome,
    all_reproductions,
    get_reproduction,
)
from analysis.published.base import at_most, equal


@cache
def outcome_of(name: str) -> Outcome:
    return get_reproduction(name).run()


NAMES = [r.name for r in all_reproductions()]


@pytest.mark.parametrize("name", NAMES)
def test_reproduction(name: str) -> None:
    try:
        outcome = outcome_of(name)
    except MissingDataError as missing:
        pytest.skip(str(missing))
    missed = [c for c in outcome.checks if not c.passed]
    assert outcome.checks
    assert not missed


def test_checks_can_fail() -> None:
    assert equal("q", 1.0, 1.0009, 1e-3).passed
    assert not equal("q", 1.0, 1.002, 1e-3).passed
    assert not equal("q", 1.0, float("nan"), 1e-3).passed
    assert at_most("q", 1.0, 0.2).passed
    assert not at_most("q", 1.0, 1.01).passed
    assert not at_most("q", 1.0, float("nan")).passed


def test_the_muennighoff_report_tells_of_the_better_optimum() -> None:
    note = outcome_of("muennighoff2023").notes[0]
    assert "local optimum" in note
    assert "hardly determine" in note
