"""Hoffmann et al. 2022 and its replication by Besiroglu et al. 2024 (2404.10102).

The data are 245 runs read off a figure of Hoffmann et al.; Besiroglu et al. leave out
the five largest losses.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from analysis import plots
from analysis.fitting import lanes as solver
from analysis.fitting.fit import fit_law
from analysis.fitting.options import HOFFMANN, FitOptions, Objective, Search
from analysis.fitting.problem import Problem, prepare
from analysis.fitting.record import Fit
from analysis.fitting.search import constants_of_each, find_optimum, minimise
from analysis.laws import get_law
from analysis.optimal.published_frontiers import HOFFMANN_2022, KAPLAN_2020
from analysis.published.base import Check, Outcome, equal, reproduction, shipped
from analysis.tables.table import Table, read_table
from analysis.uncertainty.intervals import fit_with_intervals
from analysis.uncertainty.units import Bootstrap

PAPER = "Besiroglu et al. 2024 (2404.10102)"
OUTLIERS = 5
HOFFMANN_CONSTANTS = {
    "E": float(np.exp(0.5267228)),
    "A": float(np.exp(6.0073404)),
    "B": float(np.exp(6.0179186)),
    "alpha": 0.33917084,
    "beta": 0.2849083,
}


def runs() -> Table:
    """The 240 runs in the order of the file; D = C / (6 N)."""
    table = read_table(
        shipped("chinchilla/svg_extracted_data.csv.gz"),
        n="Model Size",
        d="`Training FLOP` / (6 * `Model Size`)",
        c="Training FLOP",
        loss="loss",
    )
    largest = np.sort(table.values("loss"))[-OUTLIERS]
    return table.keep(table.values("loss") < largest, "one of the five largest losses")


def problem() -> Problem:
    """The regression of `runs` with the Huber objective of Hoffmann et al."""
    return prepare(runs(), "chinchilla", HOFFMANN)


def _constants(fit: Fit, expected: dict[str, float], tolerance: float) -> list[Check]:
    values = fit.constants | fit.derived
    return [equal(k, v, values[k], tolerance) for k, v in expected.items()]


def _figures() -> list[tuple[str, Figure]]:
    table = runs()
    fit = fit_with_intervals(table, "chinchilla", Bootstrap(replicas=1000))
    low, high = fit.provenance.scale_range["c"]
    published = (HOFFMANN_2022, KAPLAN_2020)
    return [
        ("law", plots.law_surface(fit, table)),
        ("optimal", plots.optimal_allocation((low, high), fit, published=published)),
    ]


@reproduction(
    "besiroglu2024-huber",
    PAPER,
    "240 runs; Huber loss of ln L with δ = 1e-3, summed; global optimum.",
)
def besiroglu_huber() -> Outcome:
    """The global optimum of the Huber objective."""
    fit = fit_law(runs(), "chinchilla")
    expected = {"E": 1.81724, "A": 477.84, "B": 2143.9, "alpha": 0.34731}
    checks = [equal("objective", 0.0010182740, fit.objective, 1e-7)]
    checks += _constants(fit, expected | {"beta": 0.36718}, 5e-4)
    checks.append(equal("share of starts there", 1.0, _share(fit), 0.1))
    return Outcome(checks=tuple(checks), figures=_figures)


def _share(fit: Fit) -> float:
    return fit.diagnostics.share_at_best


@reproduction(
    "besiroglu2024-paper",
    PAPER,
    "240 runs; least absolute deviations of ln L, to which the paper's joint fit of "
    "constants and noise scale collapses.",
)
def besiroglu_paper() -> Outcome:
    """The constants printed in the paper."""
    fit = fit_law(
        runs(), "chinchilla", FitOptions(objective=Objective(loss="absolute"))
    )
    expected = {"E": 1.8169, "A": 482.01, "B": 2085.43, "alpha": 0.3478}
    expected |= {"beta": 0.3659, "a": 0.5126}
    return Outcome(checks=tuple(_constants(fit, expected, 3e-4)))


@reproduction(
    "besiroglu2024-se",
    PAPER,
    "240 runs; 4000 row bootstraps drawn by numpy's old generator with seed 42, each "
    "refitted with the Huber loss.",
)
def besiroglu_errors() -> Outcome:
    """The bootstrap standard errors and 95 % intervals."""
    draws = bootstrap_constants(4000)
    errors = {"A": 124.52, "B": 1293.28, "E": 0.02566, "alpha": 0.01540}
    errors["beta"] = 0.02060
    intervals = {
        "A": (285.2, 743.6),
        "B": (1042.4, 5810.3),
        "E": (1.769, 1.871),
        "alpha": (0.317, 0.373),
        "beta": (0.331, 0.415),
    }
    checks = [
        equal(f"standard error of {k}", v, np.std(draws[k], ddof=1), 1e-3)
        for k, v in errors.items()
    ]
    for name, ends in intervals.items():
        quantiles = np.quantile(draws[name], [0.025, 0.975])
        for side, expected, obtained in zip(
            ("from", "to"), ends, quantiles, strict=True
        ):
            label = f"95 % interval of {name} {side}"
            checks.append(equal(label, expected, obtained, 4e-3))
    return Outcome(checks=tuple(checks))


def published_weights(replicas: int, rows: int = 240, seed: int = 42) -> np.ndarray:
    """Row multiplicities (replicas, rows) of the draws of the paper's notebook.

    Args:
        replicas: number of draws.
        rows: of the table.
        seed: of numpy's legacy generator, as the notebook sets it.
    """
    generator = np.random.RandomState(seed)
    draws = (generator.choice(rows, rows, replace=True) for _ in range(replicas))
    return np.stack([np.bincount(d, minlength=rows) for d in draws]).astype(float)


def bootstrap_constants(replicas: int) -> dict[str, np.ndarray]:
    """Constants of the refits: name -> (replicas,)."""
    task = problem()
    best = find_optimum(task, Search(starts=32)).theta
    lanes = task.with_weights(published_weights(replicas))
    solution = minimise(lanes, np.tile(best, (replicas, 1)), near=True)
    return constants_of_each(task.law, solution.theta)


@reproduction(
    "hoffmann2022",
    "Hoffmann et al. 2022 (2203.15556), approach 3",
    "The published constants put into the objective of the 240 runs.",
)
def hoffmann() -> Outcome:
    """The distance of the published constants from the optimum."""
    task = problem()
    theta = solver.to_solver(get_law("chinchilla"), HOFFMANN_CONSTANTS)
    published = minimise(task, theta[None], Search(max_iterations=0)).objective[0]
    best = find_optimum(task).objective
    return Outcome(
        checks=(
            equal("objective at the published constants", 0.00123116, published, 1e-5),
            equal("its excess over the optimum", 0.21, published / best - 1, 0.02),
        )
    )
