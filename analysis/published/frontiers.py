"""N*(C) and D*(C) as papers state them, for comparison in figures."""

from __future__ import annotations

import numpy as np

from analysis.plots.optimal import PublishedFrontier

PF_DAY = 8.64e19  # FLOPs


def _hoffmann_n(c: np.ndarray) -> np.ndarray:
    """Closed form of the law with the constants of approach 3 (eq. 4 and app. D.3)."""
    a, b, alpha, beta = 406.4, 410.7, 0.34, 0.28
    g = (alpha * a / (beta * b)) ** (1 / (alpha + beta))
    return np.asarray(g * (c / 6) ** (beta / (alpha + beta)))


def _kaplan_n(c: np.ndarray) -> np.ndarray:
    """N* = 1.3e9 C^0.73, C in PF-days, non-embedding parameters (sec. 6, app. A)."""
    return np.asarray(1.3e9 * (c / PF_DAY) ** 0.73)


HOFFMANN_2022 = PublishedFrontier(
    name="Hoffmann et al. 2022, approach 3",
    n_star=_hoffmann_n,
    d_star=lambda c: c / (6 * _hoffmann_n(c)),
)

KAPLAN_2020 = PublishedFrontier(
    name="Kaplan et al. 2020",
    n_star=_kaplan_n,
    d_star=lambda c: c / (6 * _kaplan_n(c)),
)
