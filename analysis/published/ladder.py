"""Bhagia et al. 2024: task losses and accuracies of a larger model from a ladder."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.fitting.fit import fit_law
from analysis.fitting.options import Objective
from analysis.fitting.problem import Problem
from analysis.fitting.search import constants_of, find_optimum
from analysis.laws import get_law
from analysis.published.base import Outcome, equal, reproduction, shipped
from analysis.tables.table import table_from_frame

TARGET, OTHER = "peteish13_eval_final", "peteish7_eval_anneal"
N, D = 13_202_396_160, 5_000_088_518_656
"""Parameters and training tokens of the target."""
LAST, WINDOW, SKIPPED = 5, 5, 0.1
"""Evaluations that a run's end is the mean of, those of a moving average, and the share
of a run's first ones that say nothing of its accuracy."""
STEP_1 = {
    "hellaswag_val": 0.65318,
    "arc_challenge_test": 0.78332,
    "arc_easy_test": 0.59310,
    "piqa_val": 0.87479,
}
"""Task -> bits per byte of the target, predicted from n and d."""
ACCURACY = {
    "hellaswag_val": (0.84157, 0.85304, 1e-4),
    "arc_challenge_test": (0.60302, 0.52671, 1e-2),
    "arc_easy_test": (0.81938, 0.77242, 1e-2),
    "piqa_val": (0.80746, 0.82080, 1e-2),
}
"""Task -> accuracy of the target from its own bits per byte, that from the predicted
ones, and how near ours come: those of hellaswag to all digits."""


@reproduction(
    "bhagia2024",
    "Bhagia et al. 2024 (2412.04403), OLMo ladder to 13B parameters",
    "Bits per byte of four tasks in n and d over 16 runs, then accuracy as a sigmoid "
    "of bits per byte over all evaluations with an ideal point, then both in a chain.",
)
def ladder() -> Outcome:
    """Both steps and the chain, for the model that was not fitted."""
    every = pd.read_csv(shipped("olmo-ladder/runs.csv.gz")).sort_values(["run", "step"])
    runs = every[~every["run"].isin([TARGET, OTHER])]
    goal = every[every["run"] == TARGET].tail(LAST)
    checks, actual = [], []
    for task, expected in STEP_1.items():
        bits = predicted_bits(runs, task)
        checks.append(equal(f"{task}: bits per byte", expected, bits, 2e-5))
        accuracy = accuracy_of(runs, task)
        measured = goal[f"{task}_bpb"].mean()
        from_own, chained, tolerance = ACCURACY[task]
        for name, x, value in (
            ("accuracy from its own bits", measured, from_own),
            ("accuracy by the chain", bits, chained),
        ):
            found = get_law("sigmoid_of_loss").losses(accuracy, {"x": x})
            checks.append(equal(f"{task}: {name}", value, float(found), tolerance))
        actual.append(f"{task} {goal[f'{task}_len_norm'].mean():.3f}")
    note = f"Accuracies that the target has: {', '.join(actual)}."
    return Outcome(checks=tuple(checks), notes=(note,))


def predicted_bits(runs: pd.DataFrame, task: str) -> float:
    """Step 1: the target's bits per byte by Chinchilla's law over the runs' ends."""
    ends = runs.groupby("run", as_index=False).tail(LAST).groupby("run", as_index=False)
    rows = ends.agg(n=("n", "first"), d=("tokens", "max"), loss=(f"{task}_bpb", "mean"))
    fit = fit_law(table_from_frame(rows, n="n", d="d", loss="loss"))
    return float(get_law("chinchilla").losses(fit.constants, {"n": N, "d": D}))


def accuracy_of(runs: pd.DataFrame, task: str) -> dict[str, float]:
    """Step 2: the constants of accuracy as a sigmoid of bits per byte."""
    x, y = [np.zeros(1)], [np.ones(1)]  # without a loss, everything is right
    for _, run in runs.groupby("run", sort=False):
        rows = run[[f"{task}_bpb", f"{task}_len_norm"]].dropna()
        rows = rows.iloc[int(np.ceil(SKIPPED * len(rows))) :]
        smooth = rows.rolling(WINDOW, min_periods=1).mean().to_numpy()
        x.append(smooth[:, 0])
        y.append(smooth[:, 1])
    problem = Problem(
        law=get_law("sigmoid_of_loss"),
        columns={"x": np.concatenate(x)},
        y=np.concatenate(y),
        weights=np.ones(sum(map(len, x))),
        objective=Objective(loss="squares", space="linear"),
    )
    return constants_of(problem.law, find_optimum(problem).theta)
