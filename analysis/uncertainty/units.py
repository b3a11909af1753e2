"""The units that bootstraps draw: rows, runs, trunks, groups or seeds.

`WHEN` says which kind suits what, `advise` which one a table. Drawing rows that are
correlated gives intervals that are far too narrow; drawing fewer than about ten units
gives none that can be trusted (Cameron, Gelbach & Miller 2008). Seeds, and units by the
hundreds, are drawn by weights; of fewer units the residuals are (`wild`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.tables.columns import (
    SEEDS,
    STEPS,
    group_labels,
    run_columns,
    spec_columns,
)
from analysis.tables.table import Table

Kind = Literal["row", "run", "trunk", "group", "seed"]
KINDS: tuple[Kind, ...] = get_args(Kind)
WHEN: dict[Kind, str] = {
    "seed": "every configuration was run with two seeds or more: seeds are drawn "
    "within each, and what the law misses stays out of the intervals",
    "trunk": "runs that differ in length alone share weights, data order and most of "
    "their steps: their errors move together, and are drawn together",
    "run": "several rows come from one training run, and are drawn together",
    "group": "rows share something else, such as an isoFLOP budget; the rows of a "
    "group are drawn together",
    "row": "every row is a run of its own, with noise of its own",
}
"""The kinds of bootstrap, each with the tables that it suits."""
MANY = 200
"""The number of units from which draws by weights are good enough."""
ENOUGH = 10
"""The units of equal size, or seeds beyond the first, that a bootstrap needs."""


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
    """The units that a bootstrap draws, row by row.

    Attributes:
        kind: what a unit is.
        labels: (rows,) the unit of each row; rows of one unit are drawn together.
        strata: (rows,) units are drawn within each stratum; None draws from them all.
    """

    kind: Kind
    labels: np.ndarray
    strata: np.ndarray | None = None

    @property
    def count(self) -> int:
        """The number of units."""
        return len(np.unique(self.labels))

    @property
    def by_residuals(self) -> bool:
        """Whether new losses are drawn from the residuals, not units by weights.

        Few units drawn by weights leave out the ends of a grid: their intervals miss
        too often under least squares, and are too wide under a robust loss.
        """
        return self.kind != "seed" and self.count < MANY

    def sizes(self) -> np.ndarray:
        """The number of units in each stratum."""
        strata = np.zeros(len(self.labels)) if self.strata is None else self.strata
        pairs = pd.DataFrame({"unit": self.labels, "stratum": strata})
        return np.asarray(pairs.groupby("stratum")["unit"].nunique())


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """The bootstrap that suits a table, and why.

    Attributes:
        kind: of the bootstrap.
        why: one sentence.
        caution: what its intervals miss, "" when nothing is known.
    """

    kind: Kind
    why: str
    caution: str = ""


def advise(table: Table) -> Advice:
    """The advice that follows from what the rows share."""
    strata, trunks = _strata(table), trunk_labels(table)
    if strata is not None:
        seeds = _seed_units(table, strata).sizes()
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
    """The advice to draw whole units where they are enough, else rows with caution."""
    effective = effective_units(labels)
    if effective >= ENOUGH:
        return Advice(kind=kind, why=why)
    many = len(np.unique(labels))
    caution = (
        f"{why}, but {many} {kind}s (worth {effective:.0f} of equal size) are too few "
        f"to draw, {ENOUGH} are needed: rows are drawn, and where the errors within a "
        f"{kind} agree the intervals are too narrow"
    )
    return Advice(kind="row", why=f"too few {kind}s to draw", caution=caution)


def effective_units(labels: np.ndarray) -> float:
    """The number of units of equal size that they are worth: (Σm)² / Σm² of sizes m.

    The effective sample size of Kish 1965.
    """
    sizes = np.unique(labels, return_counts=True)[1].astype(np.float64)
    return float(sizes.sum() ** 2 / np.sum(sizes**2))


def trunk_labels(table: Table) -> np.ndarray | None:
    """Labels (rows,) shared by runs whose specs differ in length alone.

    None for a table without the spec columns of a results folder.
    """
    return _same(table.frame, (*spec_columns(table.frame), *SEEDS))


def _same(frame: pd.DataFrame, columns: tuple[str, ...]) -> np.ndarray | None:
    if not set(SEEDS) <= set(frame.columns) or STEPS not in frame.columns:
        return None
    return np.asarray(frame.groupby(list(columns), dropna=False).ngroup())


def _strata(table: Table) -> np.ndarray | None:
    """Configurations (rows,) that seeds repeat; None when the table knows no seeds."""
    strata = _same(table.frame, spec_columns(table.frame))
    if strata is None and table.has("seed") and table.has("n") and table.has("d"):
        return _equal_scales([table.values("n"), table.values("d")])
    return strata


def configurations(table: Table) -> np.ndarray:
    """Labels (rows,) shared by the rows that differ in their seeds alone.

    Each row has its own where the table does not know of seeds.
    """
    run = [c for c in run_columns(table.frame) if c not in SEEDS]
    if run:
        return group_labels(table.frame, run)
    if table.has("seed") and table.has("n") and table.has("d"):
        return _equal_scales([table.values("n"), table.values("d")])
    return np.arange(len(table))


def _equal_scales(columns: Iterable[np.ndarray]) -> np.ndarray:
    """Labels (rows,) shared by rows that agree in every column."""
    scales = np.stack(list(columns))
    return np.unique(scales, axis=1, return_inverse=True)[1].ravel()


def _seed_units(table: Table, strata: np.ndarray) -> Units:
    """The seeds within each configuration; runs of one seed's trunk are one unit."""
    trunks = trunk_labels(table)
    labels = np.arange(len(table)) if trunks is None else trunks
    return Units(kind="seed", labels=labels, strata=strata)


def units_of(
    table: Table, kind: Kind, scales: Mapping[str, np.ndarray] | None = None
) -> Units:
    """The units that a kind of bootstrap draws from a table.

    Args:
        table: the rows, with their labels.
        kind: of the bootstrap.
        scales: name -> (rows,): rows that agree in all of them are seeds of one
            configuration, where the table does not say itself which are; its n and d
            when None.

    Raises:
        AnalysisError: the table lacks the columns that say so, or has too few units.
    """
    if kind == "row":
        return Units(kind=kind, labels=np.arange(len(table)))
    if kind == "seed":
        strata = _strata(table)
        if strata is None:
            scales = scales or {k: table.values(k) for k in ("n", "d")}
            strata = _equal_scales(scales.values())
        return _seed_units(table, strata)
    if kind == "trunk":
        trunks = trunk_labels(table)
        if trunks is None:
            raise AnalysisError(
                f"{table.source} has no spec columns (model.*, seed_init, steps) that "
                "say which runs share a trunk; use row, or group with a column"
            )
        return Units(kind=kind, labels=trunks)
    return Units(kind=kind, labels=table.values(kind))
