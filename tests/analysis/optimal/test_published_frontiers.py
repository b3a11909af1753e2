"""Published frontiers give the numbers of their papers."""

import pytest

from analysis.optimal.published_frontiers import HOFFMANN_2022, KAPLAN_2020


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
