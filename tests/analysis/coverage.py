"""Simulated tables with a known truth: how often does an interval hold it?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from analysis.fitting import lanes
from analysis.fitting.options import Objective
from analysis.fitting.problem import Problem
from analysis.fitting.search import minimise
from analysis.laws import get_law
from analysis.uncertainty.draws import redrawn
from analysis.uncertainty.intervals import percentiles, tail_of
from analysis.uncertainty.units import Bootstrap, Units
from tests.analysis import synthetic

LAW = get_law("chinchilla")
TRUTH = lanes.to_solver(LAW, synthetic.TRUTH)
NAMES = (*LAW.parameter_names, "a")
SQUARES = Objective(loss="squares")


@dataclass(frozen=True, kw_only=True)
class Design:
    """Rows, how their errors hang together, and the bootstrap that is tried.

    Attributes:
        name: for a table.
        n, d: (rows,) the design.
        units: what the bootstrap draws.
        errors: generator -> (rows,) errors of ln loss.
    """

    name: str
    n: np.ndarray
    d: np.ndarray
    units: Units
    errors: Callable[[np.random.Generator], np.ndarray]


def independent(size: int, noise: float = 0.01) -> Design:
    """A square grid whose rows are runs with noise of their own."""
    n, d = synthetic.grid(size, size)
    return Design(
        name=f"{len(n)} independent rows, by row",
        n=n,
        d=d,
        units=Units(kind="row", labels=np.arange(len(n))),
        errors=lambda r: noise * r.standard_normal(len(n)),
    )


def uneven(size: int) -> Design:
    """A square grid whose noise falls from 0.02 to 0.005 as D grows."""
    plain = independent(size)
    spread = np.geomspace(0.02, 0.005, size)[np.unique(plain.d, return_inverse=True)[1]]
    return replace(
        plain,
        name=f"{len(spread)} rows whose noise falls with D, by row",
        errors=lambda r: spread * r.standard_normal(len(spread)),
    )


def long_tailed(size: int) -> Design:
    """A square grid whose noise is Student's t with 3 degrees of freedom."""
    plain = independent(size)
    return replace(
        plain,
        name=f"{len(plain.n)} rows with t3 noise, by row",
        errors=lambda r: 0.01 * r.standard_t(3, len(plain.n)),
    )


def clustered(runs: int, points: int = 5) -> Design:
    """Runs evaluated at several lengths; most of an error is that of the run."""
    rng = np.random.default_rng(5)
    n = np.exp(rng.uniform(np.log(1e7), np.log(1e10), runs)).repeat(points)
    d = np.exp(rng.uniform(np.log(1e9), np.log(3e11), runs * points))
    return Design(
        name=f"{runs} runs of {points} rows, by run",
        n=n,
        d=d,
        units=Units(kind="run", labels=np.arange(runs).repeat(points)),
        errors=shared(runs, points, 0.01, 0.003),
    )


def isoflop(groups: int, sizes: int = 8) -> Design:
    """IsoFLOP curves over four decades; half of the variance is that of the curve."""
    c = np.geomspace(1e18, 1e22, groups)
    n = np.concatenate([np.sqrt(x / 120) * np.geomspace(0.15, 6, sizes) for x in c])
    return Design(
        name=f"{groups} isoFLOP curves of {sizes} rows, by group",
        n=n,
        d=c.repeat(sizes) / (6 * n),
        units=Units(kind="group", labels=np.arange(groups).repeat(sizes)),
        errors=shared(groups, sizes, 0.005, 0.005),
    )


def seeds(size: int, repeats: int) -> Design:
    """A square grid of configurations, each with its seeds."""
    n, d = (x.repeat(repeats) for x in synthetic.grid(size, size))
    return Design(
        name=f"{size**2} configurations of {repeats} seeds, by seed",
        n=n,
        d=d,
        units=Units(
            kind="seed",
            labels=np.arange(len(n)),
            strata=np.arange(size**2).repeat(repeats),
        ),
        errors=lambda r: 0.01 * r.standard_normal(len(n)),
    )


def shared(
    units: int, rows: int, between: float, within: float
) -> Callable[[np.random.Generator], np.ndarray]:
    """Errors with a part common to the rows of a unit."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        own = within * rng.standard_normal(units * rows)
        return np.asarray(between * rng.standard_normal(units).repeat(rows) + own)

    return draw


def coverage(
    design: Design,
    *,
    tables: int,
    replicas: int,
    objective: Objective = SQUARES,
    seed: int = 0,
) -> np.ndarray:
    """Share of tables whose 95 % interval holds the truth, per entry of `NAMES`."""
    rng = np.random.default_rng(seed)
    exact = synthetic.chinchilla_loss(design.n, design.d)
    y = exact * np.exp(np.stack([design.errors(rng) for _ in range(tables)]))
    problem = problem_of(design, y, objective)
    best = minimise(problem, np.tile(TRUTH, (tables, 1)), near=True).theta
    how = Bootstrap(kind=design.units.kind, replicas=replicas)
    many = _redrawn(problem, best, design.units, how, seed)
    draws = minimise(many, np.repeat(best, replicas, 0), near=True).theta
    draws = _with_a(draws).reshape(tables, replicas, -1)
    squares = objective.near_squares(np.log(y / exact))
    tail = tail_of(design.units, 0.95, squares=squares)
    low, high = percentiles(np.moveaxis(draws, 1, 0), tail)
    truth = _with_a(TRUTH)
    return np.asarray(np.mean((low <= truth) & (high >= truth), axis=0))


def problem_of(
    design: Design, y: np.ndarray, objective: Objective = SQUARES
) -> Problem:
    """The regression of losses (rows,), or (tables, rows), on a design."""
    return Problem(
        law=LAW,
        columns={"n": design.n, "d": design.d},
        y=y,
        weights=np.ones(len(design.n)),
        objective=objective,
    )


def _redrawn(
    problem: Problem, best: np.ndarray, units: Units, how: Bootstrap, seed: int
) -> Problem:
    """The replicas of all tables as one problem (tables times replicas, rows)."""
    parts = [
        redrawn(replace(problem, y=y), best[i], units, replace(how, seed=seed + i))
        for i, y in enumerate(problem.y)
    ]
    shape = (how.replicas, len(units.labels))
    ys, weights = (
        np.concatenate([np.broadcast_to(getattr(p, k), shape) for p in parts])
        for k in ("y", "weights")
    )
    return replace(problem, y=ys, weights=weights)


def _with_a(theta: np.ndarray) -> np.ndarray:
    """Append a = beta / (alpha + beta)."""
    alpha, beta = theta[..., 3], theta[..., 4]
    return np.concatenate([theta, (beta / (alpha + beta))[..., None]], axis=-1)
