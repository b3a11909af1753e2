"""What a bootstrap draws: rows, runs, trunks, groups or seeds, and which one to use.

`WHEN` says which kind suits what, `advise` which one a table. Drawing rows that are
correlated gives intervals that are far too narrow; drawing fewer than about ten units
gives none that can be trusted (Cameron, Gelbach & Miller 2008). Seeds, and units by the
hundreds, are drawn by weights; of fewer units the residuals are (`wild`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.fitting.problem import Problem
from analysis.tables.columns import SEEDS, spec_columns
from analysis.tables.table import Table

Kind = Literal["row", "run", "trunk", "group", "seed"]
KINDS = ("row", "run", "trunk", "group", "seed")
WHEN = {
    "seed": "every configuration was run with two seeds or more: seeds are drawn "
    "within each, and what the law misses stays out of the intervals",
    "trunk": "runs that differ in length alone share weights, data order and most of "
    "their steps: their errors move together, and are drawn together",
    "run": "several rows come from one training run, and are drawn together",
    "group": "rows share something else, such as an isoFLOP budget; the rows of a "
    "group are drawn together",
    "row": "every row is a run of its own, with noise of its own",
}
MANY = 200  # units that draws by weights are good enough for
ENOUGH = 10  # units of equal size, or seeds beyond the first, that a bootstrap needs


@dataclass(frozen=True, kw_only=True, slots=True)
class Bootstrap:
    """A bootstrap (Efron 1979) by one kind of unit.

    Attributes:
        kind: what is drawn (or has its residuals drawn): rows, whole runs, trunks or
            groups, or the seeds within each configuration.
        replicas: number of refits.
        level: coverage of the percentile intervals.
        seed: of the draws.
    """

    kind: Kind = "row"
    replicas: int = 1000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise AnalysisError(
                f"bootstrap by {self.kind!r} is none of {', '.join(KINDS)}"
            )
        if self.replicas < 2:
            raise AnalysisError(f"bootstrap replicas {self.replicas} must be 2 or more")
        if not 0 < self.level < 1:
            raise AnalysisError(f"level {self.level} must be between 0 and 1")


BY_ROW = Bootstrap()


@dataclass(frozen=True, kw_only=True, slots=True)
class Units:
    """What is drawn, per row.

    Attributes:
        labels: (rows,) the unit of each row; rows of one unit are drawn together.
        strata: (rows,) units are drawn within each stratum; None draws from them all.
    """

    labels: np.ndarray
    strata: np.ndarray | None = None

    @property
    def count(self) -> int:
        """Number of units."""
        return len(np.unique(self.labels))

    def sizes(self) -> np.ndarray:
        """Units in each stratum."""
        strata = np.zeros(len(self.labels)) if self.strata is None else self.strata
        pairs = pd.DataFrame({"unit": self.labels, "stratum": strata})
        return pairs.groupby("stratum")["unit"].nunique().to_numpy()


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """Which bootstrap suits a table.

    Attributes:
        kind: of the bootstrap.
        why: one sentence.
        caution: what its intervals miss, "" when nothing is known.
    """

    kind: Kind
    why: str
    caution: str = ""


def advise(table: Table) -> Advice:
    """Choose the bootstrap by what the rows share."""
    strata, trunks = _strata(table), trunk_labels(table)
    if strata is not None:
        seeds = Units(labels=_seed_units(table), strata=strata).sizes()
        if seeds.min() >= 2 and np.sum(seeds - 1) >= ENOUGH:
            why = f"each of {len(seeds)} configurations has {seeds.min()} seeds or more"
            return Advice(kind="seed", why=why)
    if trunks is not None and len(np.unique(trunks)) < len(table):
        why = "runs that differ in length alone share most of their training"
        return _whole("trunk", trunks, why)
    if table.has("run"):
        runs = table.values("run")
        if len(np.unique(runs)) < len(table):
            return _whole("run", runs, "several rows come from one run")
    return Advice(kind="row", why="each row is a run of its own")


def _whole(kind: Kind, labels: np.ndarray, why: str) -> Advice:
    """Whole units where they are enough, else rows with a caution."""
    found = effective_units(labels)
    if found >= ENOUGH:
        return Advice(kind=kind, why=why)
    many = len(np.unique(labels))
    caution = (
        f"{why}, but {many} {kind}s (worth {found:.0f} of equal size) are too few to "
        f"draw, {ENOUGH} are needed: rows are drawn, and where the errors within a "
        f"{kind} agree the intervals are too narrow"
    )
    return Advice(kind="row", why=f"too few {kind}s to draw", caution=caution)


def effective_units(labels: np.ndarray) -> float:
    """(Σm)² / Σm² of the unit sizes m: how many units of equal size they are worth.

    The effective sample size of Kish 1965.
    """
    sizes = np.unique(labels, return_counts=True)[1].astype(np.float64)
    return float(sizes.sum() ** 2 / np.sum(sizes**2))


def trunk_labels(table: Table) -> np.ndarray | None:
    """Label (rows,) shared by runs whose specs differ in length alone; None without
    the spec columns of a results folder."""
    return _same(table.frame, (*spec_columns(table.frame), *SEEDS))


def _same(frame: pd.DataFrame, columns: tuple[str, ...]) -> np.ndarray | None:
    if not set(SEEDS) <= set(frame.columns) or "steps" not in frame.columns:
        return None
    return frame.groupby(list(columns), dropna=False, sort=True).ngroup().to_numpy()


def _strata(table: Table) -> np.ndarray | None:
    """Configurations that seeds repeat; None when the table does not know its seeds."""
    found = _same(table.frame, spec_columns(table.frame))
    if found is None and table.has("seed") and table.has("n") and table.has("d"):
        scales = np.stack([table.values("n"), table.values("d")])
        found = np.unique(scales, axis=1, return_inverse=True)[1].ravel()
    return found


def _seed_units(table: Table) -> np.ndarray:
    trunks = trunk_labels(table)
    return np.arange(len(table)) if trunks is None else trunks


def units_of(table: Table, problem: Problem, kind: Kind) -> Units:
    """The units that a kind of bootstrap draws.

    Args:
        table: the rows, with their labels.
        problem: of the same rows.
        kind: of the bootstrap.

    Raises:
        AnalysisError: the table lacks the columns that say so, or has too few units.
    """
    if kind == "row":
        return Units(labels=np.arange(problem.rows))
    if kind == "seed":
        strata = _strata(table)
        if strata is None:  # rows with equal scales are repeats of one configuration
            scales = np.stack([problem.columns[k] for k in problem.law.columns])
            strata = np.unique(scales, axis=1, return_inverse=True)[1].ravel()
        return Units(labels=_seed_units(table), strata=strata)
    if kind == "trunk":
        trunks = trunk_labels(table)
        if trunks is None:
            raise AnalysisError(
                f"{table.source} has no spec columns (model.*, seed_init, steps) that "
                "say which runs share a trunk; use row, or group with a column"
            )
        return Units(labels=trunks)
    return Units(labels=table.values(kind))


def by_residuals(kind: Kind, units: Units) -> bool:
    """Whether new losses are drawn from the residuals, instead of units by weights.

    Few units drawn by weights leave out the ends of a grid: their intervals miss too
    often under least squares, and are too wide under a robust loss.
    """
    return kind != "seed" and units.count < MANY


def draw_weights(units: Units, replicas: int, rng: np.random.Generator) -> np.ndarray:
    """Weights (replicas, rows) of the kind that the units ask for.

    Args:
        units: what is drawn.
        replicas: number of draws.
        rng: of the draws.
    """
    if units.strata is None:
        return resampled_weights(units.labels, replicas, rng)
    return seed_weights(units.strata, replicas, rng, units.labels)


def resampled_weights(
    units: np.ndarray, replicas: int, rng: np.random.Generator
) -> np.ndarray:
    """Multiplicity (replicas, rows) of each row when whole units are drawn.

    Raises:
        AnalysisError: there is one unit only.
    """
    _, index = np.unique(units, return_inverse=True)
    count = int(index.max()) + 1
    if count < 2:
        raise AnalysisError("a bootstrap needs at least 2 units, the table has 1")
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=replicas)
    return drawn[:, index].astype(np.float64)


def seed_weights(
    configurations: np.ndarray,
    replicas: int,
    rng: np.random.Generator,
    units: np.ndarray | None = None,
) -> np.ndarray:
    """Weights (replicas, rows) when seeds are drawn within each configuration.

    Of m seeds m - 1 are drawn and weighted m / (m - 1), which makes the variance right
    for few seeds (Rao & Wu 1988). `units` names rows that share a seed's training; each
    row is its own when None.

    Raises:
        AnalysisError: a configuration has one seed only.
    """
    units = np.arange(len(configurations)) if units is None else units
    seeds = Units(labels=units, strata=configurations).sizes()
    if seeds.min() < 2:
        raise AnalysisError(
            f"{int(np.sum(seeds < 2))} configurations have one seed only: a bootstrap "
            "over seeds needs two or more; use row"
        )
    weights = np.empty((replicas, len(units)))
    for label in np.unique(configurations):
        rows = np.flatnonzero(configurations == label)
        index = np.unique(units[rows], return_inverse=True)[1]
        m = int(index.max()) + 1
        drawn = rng.multinomial(m - 1, np.full(m, 1 / m), size=replicas)
        weights[:, rows] = (drawn * m / (m - 1))[:, index]
    return weights
