"""N*(C) and D*(C) as papers state them, for comparison in figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

PF_DAY = 1e15 * 24 * 3600
"""The FLOPs of a petaFLOP/s-day."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedFrontier:
    """N*(C) and D*(C) that a paper claims; both map FLOPs to counts."""

    name: str
    n_star: Callable[[np.ndarray], np.ndarray]
    d_star: Callable[[np.ndarray], np.ndarray]


def _hoffmann_n(c: np.ndarray) -> np.ndarray:
    """Closed form of the law with the constants of approach 3 (eq. 4 and app. D.3)."""
    a, b, alpha, beta = 406.4, 410.7, 0.34, 0.28
    g = (alpha * a / (beta * b)) ** (1 / (alpha + beta))
    return np.asarray(g * (c / 6) ** (beta / (alpha + beta)))


def _kaplan_n(c: np.ndarray) -> np.ndarray:
    """N_opt = 1.3e9 C^0.73, C in PF-days, N without embeddings (app. A, table 6).

    Their C is C_min, the compute at a small batch; other counts are taken as they are.
    """
    return np.asarray(1.3e9 * (c / PF_DAY) ** 0.73)


def _kaplan_d(c: np.ndarray) -> np.ndarray:
    """D_opt = 2e10 C^0.27 tokens, one epoch, C in PF-days (app. A, table 6)."""
    return np.asarray(2e10 * (c / PF_DAY) ** 0.27)


HOFFMANN_2022 = PublishedFrontier(
    name="Hoffmann et al. 2022, approach 3",
    n_star=_hoffmann_n,
    d_star=lambda c: c / (6 * _hoffmann_n(c)),
)

KAPLAN_2020 = PublishedFrontier(
    name="Kaplan et al. 2020, table 6",
    n_star=_kaplan_n,
    d_star=_kaplan_d,
)
