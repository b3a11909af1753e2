"""Alabdulmohsin et al. 2022: extrapolating 72 learning curves of vision models."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.fitting.options import Objective, Search
from analysis.fitting.problem import Problem
from analysis.fitting.search import constants_of, find_optima
from analysis.laws import get_law
from analysis.published.base import Outcome, at_most, equal, reproduction, shipped

LAWS = {
    "power": (0.0915, 2, 100),
    "power_constant": (0.0845, 4, 100),
    "shifted_power": (0.0465, 8, 150),
    "sigmoidal": (0.0385, 4, 100),
    "broken_1": (0.0235, 64, 150),
}
"""Law -> (greatest median error that prints as the reference figure or less, starts per
curve, steps per start). The reference figures: .091, .084, .046, .038, .022; for the
last the reference's searches stop before the best optimum of some curves, which errs a
little more beyond them: it prints as .023."""


def curves() -> list[pd.DataFrame]:
    """One frame per curve: x examples seen, y error rate, whether it is for fitting."""
    frame = pd.read_csv(shipped("revisiting/benchmark.vision.csv.gz"))
    frame = frame.rename(columns={"Seen Examples": "x", "Loss": "y"})
    return [g for _, g in frame.groupby(["Task", "Model"])]


def extrapolation_errors(
    law_name: str, data: list[pd.DataFrame], starts: int, steps: int
) -> np.ndarray:
    """Root mean square error of ln y beyond the fitted part, per curve.

    Args:
        law_name: a law in x.
        data: one frame per curve: x, y and Training (1 fitted, 0 predicted).
        starts: per curve.
        steps: of the solver at most.
    """
    law = get_law(law_name)
    head = [_arrays(g[g["Training"] == 1]) for g in data]
    tail = [_arrays(g[g["Training"] == 0]) for g in data]
    problems = [
        Problem(
            law=law,
            columns={"x": x},
            y=y,
            weights=np.ones(len(y)),
            objective=Objective(loss="squares"),
        )
        for x, y in head
    ]
    optima = find_optima(problems, Search(starts=starts, max_iterations=steps))
    errors = []
    for optimum, (x, y) in zip(optima, tail, strict=True):
        predicted = law.losses(constants_of(law, optimum.theta), {"x": x})
        errors.append(np.sqrt(np.mean(np.log(predicted / y) ** 2)))
    return np.array(errors)


def _arrays(curve: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The columns x and y of a curve."""
    return curve["x"].to_numpy(np.float64), curve["y"].to_numpy(np.float64)


@reproduction(
    "alabdulmohsin2022",
    "Alabdulmohsin et al. 2022 (2209.06640), benchmark of vision curves",
    "72 curves; least squares of ln y on the part marked for fitting, error of ln y on "
    "the rest; the median over curves.",
)
def alabdulmohsin() -> Outcome:
    """Median extrapolation errors at or below those of the reference fits."""
    data = curves()
    checks = [equal("curves", 72, len(data), 0.0)]
    for name, (greatest, starts, steps) in LAWS.items():
        errors = extrapolation_errors(name, data, starts, steps)
        label = f"{name}: median error of ln y"
        checks.append(at_most(label, greatest, float(np.median(errors))))
    note = (
        "A Huber loss with δ = 0.01 extrapolates better for the laws with a constant "
        "(power_constant 0.043, shifted_power 0.032) and worse for power (0.101)."
    )
    return Outcome(checks=tuple(checks), notes=(note,))
