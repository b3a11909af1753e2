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
from analysis.published.frontiers import HOFFMANN_2022, KAPLAN_2020


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


def test_published_frontiers_have_their_exponents_and_constants() -> None:
    """Hoffmann: 0.46 from the rounded constants; Kaplan: 1.3e9 at one PF-day."""
    for frontier, exponent in ((HOFFMANN_2022, 0.28 / 0.62), (KAPLAN_2020, 0.73)):
        n1, n2 = frontier.n_star(1e20), frontier.n_star(1e22)
        assert n2 / n1 == pytest.approx(100**exponent)
        d1, d2 = frontier.d_star(1e20), frontier.d_star(1e22)
        assert (n2 / n1) * (d2 / d1) == pytest.approx(100)
    n = HOFFMANN_2022.n_star(1e20)
    assert 6 * n * HOFFMANN_2022.d_star(1e20) == pytest.approx(1e20)
    assert KAPLAN_2020.n_star(8.64e19) == pytest.approx(1.3e9)
    assert KAPLAN_2020.d_star(8.64e19) == pytest.approx(2e10)
