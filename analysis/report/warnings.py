"""Sentences of warning about fits: where conventions differ, where little is known."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from analysis.fitting.record import Fit
from analysis.uncertainty.intervals import interval, tail_of_fit

VAGUE = 0.3
"""The width of an exponent's interval beyond which it says little."""


def convention_warnings(fits: Mapping[str, Fit]) -> tuple[str, ...]:
    """Warnings where the exponent a = β/(α+β) depends on how parameters are counted.

    The fits are of the same rows under the same draws, so their difference has an
    interval of its own; it is far narrower than the two intervals suggest.

    Args:
        fits: convention -> fit of a law with a derived quantity a, equal bootstraps.
    """
    warnings = []
    for first, second in combinations(fits, 2):
        if not (fits[first].replicas and fits[second].replicas):
            continue
        low, high = difference(fits[first], fits[second])
        if low > 0 or high < 0:
            a, b = fits[first].derived["a"], fits[second].derived["a"]
            warnings.append(
                f"the exponent of N* depends on the convention: {a:.3f} with {first}, "
                f"{b:.3f} with {second}, a difference of {a - b:+.3f} "
                f"[{low:+.3f}, {high:+.3f}] over the same draws"
            )
    return tuple(warnings)


def difference(first: Fit, second: Fit) -> tuple[float, float]:
    """The interval of the difference of a between two fits of the same draws."""
    a, b = (
        np.asarray(f.replicas["beta"])
        / (np.asarray(f.replicas["alpha"]) + np.asarray(f.replicas["beta"]))
        for f in (first, second)
    )
    return interval(a - b, tail_of_fit(first))


def vague_warnings(fits: Mapping[str, Fit]) -> tuple[str, ...]:
    """Warnings where the intervals are too wide for a conclusion."""
    warnings = []
    for name, fit in fits.items():
        low, high = fit.intervals["a"]
        if high - low > VAGUE:
            warnings.append(
                f"with {name} the exponent of N* is known only to lie between "
                f"{low:.2f} and {high:.2f}: add runs before using it"
            )
    return tuple(warnings)
