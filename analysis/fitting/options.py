"""The choices of a fit: what is minimised, and how hard its optimum is looked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.errors import AnalysisError
from analysis.laws.arrays import FloatArray

LossKind = Literal["huber", "squares", "absolute"]
Space = Literal["log", "linear"]
MOST_INSIDE = 0.9
"""The share of residuals within δ that is as good as least squares."""
ABSOLUTE_DELTAS = (1e-1, 1e-3, 1e-5, 1e-7)
"""The Huber thresholds by which least absolute deviations are approached."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """The sum over residuals that a fit minimises.

    Attributes:
        loss: "huber", "squares" (least squares) or "absolute" (least absolute
            deviations).
        delta: Huber's threshold; Hoffmann et al. 2022 use 1e-3 in log space.
        space: "log" takes differences of logarithms, "linear" of losses (nats).
    """

    loss: LossKind = "huber"
    delta: float = 1e-3
    space: Space = "log"

    def __post_init__(self) -> None:
        if self.loss not in ("huber", "squares", "absolute"):
            raise AnalysisError(
                f"loss {self.loss!r} is none of huber, squares, absolute"
            )
        if self.space not in ("log", "linear"):
            raise AnalysisError(f"space {self.space!r} is neither log nor linear")
        if not self.delta > 0:
            raise AnalysisError(f"delta {self.delta} must be above 0")

    @property
    def log(self) -> bool:
        """Whether residuals are differences of logarithms."""
        return self.space == "log"

    @property
    def threshold(self) -> float:
        """The Huber δ that the loss amounts to: infinite for least squares."""
        if self.loss == "squares":
            return math.inf
        return self.delta if self.loss == "huber" else ABSOLUTE_DELTAS[-1]

    def near_squares(self, residuals: FloatArray) -> bool:
        """Whether nearly all residuals (rows,) count by their square, or all do."""
        if self.loss != "huber":
            return self.loss == "squares"
        return bool(np.mean(np.abs(residuals) <= self.delta) >= MOST_INSIDE)


HOFFMANN = Objective()
"""Hoffmann et al. 2022: Huber, δ = 1e-3, in log space."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """The effort spent to find the global optimum.

    Attributes:
        starts: number of starting points.
        seed: of their placement.
        tolerance: relative decrement at which a start stops (see `lanes.solve`).
        max_iterations: steps after which it stops unconverged.
    """

    starts: int = 64
    seed: int = 0
    tolerance: float = 1e-12
    max_iterations: int = 300

    def __post_init__(self) -> None:
        if self.starts < 1:
            raise AnalysisError(f"starts {self.starts} must be at least 1")


THOROUGH = Search()
"""The search of every fit that does not ask for another."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FitOptions:
    """The choices of a fit, handed through unchanged.

    Attributes:
        objective: robust loss, δ and space; the default is Hoffmann et al. 2022's.
        search: number of starts and tolerance.
    """

    objective: Objective = HOFFMANN
    search: Search = THOROUGH


DEFAULT = FitOptions()
"""Hoffmann et al. 2022's objective, searched thoroughly."""
