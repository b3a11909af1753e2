"""How much compute one recipe saves against another at the same loss.

Two recipes are compared along their frontiers: the compute that the reference needs for
the loss that the other one reaches with C, divided by C. A multiplier above one saves
compute. It is shown only if its interval leaves out one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from analysis.errors import AnalysisError
from analysis.fitting.record import Fit
from analysis.laws.allocation import MOST, Demand, best_model, where_reached
from analysis.laws.arrays import Constants, FloatArray, Number
from analysis.laws.base import Law
from analysis.laws.grouped import KIND, grouped, labels_of
from analysis.laws.registry import get_law
from analysis.optimal.frontier import frontier
from analysis.tables.groups import groups_of
from analysis.tables.table import Table
from analysis.uncertainty.intervals import fit_with_intervals, percentiles, tail_of_fit
from analysis.uncertainty.predictions import Band, draws_of
from analysis.uncertainty.units import Bootstrap, advise

CURVE, SHARES = "power_constant", ("E", "c")
"""The law of a frontier, and what recipes share when one factor parts them."""
FEWEST = 4
"""The budgets without which a frontier has no law."""
BUDGETS = 3
"""The budgets at which recipes are compared, from the least to the greatest common."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Multiplier:
    """The compute that the reference needs, divided by that of a recipe.

    Attributes:
        label: of the recipe.
        compute: FLOPs at which they are compared; None for all budgets together.
        band: the multiplier with its interval.
    """

    label: str
    compute: float | None
    band: Band

    @property
    def shown(self) -> bool:
        """Whether the interval leaves out one: that nothing is saved."""
        return bool(self.band.low > 1 or self.band.high < 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Speedup:
    """The recipes of a table against one of them.

    Attributes:
        reference: label of the recipe that others are compared with.
        pooled: of each other recipe, at all budgets together.
        at_budgets: of each other recipe, at budgets that all have been trained at.
        fit: the law with a factor for each recipe.
        notes: what a reader must know.
    """

    reference: str
    pooled: tuple[Multiplier, ...]
    at_budgets: tuple[Multiplier, ...]
    fit: Fit
    notes: tuple[str, ...]


def with_kinds(groups: Mapping[str, Table], table: Table) -> Table:
    """The rows of several groups as one table with the number of each row's group."""
    number = np.full(len(table), -1)
    for i, part in enumerate(groups.values()):
        number[table.frame.index.isin(part.frame.index)] = i
    kept = table.keep(number >= 0, "on no group's frontier")
    frame = kept.frame.assign(**{KIND: number[number >= 0]})
    return replace(kept, frame=frame).with_columns(**{KIND: KIND})


def labels_in(groups: Mapping[str, Table]) -> list[str]:
    """Short names of groups: the values alone, "muon" of "optimizer.name = muon"."""
    names = [", ".join(p.split(" = ")[-1] for p in k.split(", ")) for k in groups]
    return names if len(set(names)) == len(names) else list(groups)


def speedup(
    table: Table, by: str, reference: str | None, bootstrap: Bootstrap
) -> Speedup:
    """The compute that recipes save, pooled and by budget.

    Args:
        table: rows with roles c and loss.
        by: the column that names the recipes.
        reference: the one that others are compared with; the first by name if None.
        bootstrap: of the intervals; seeds are drawn where there are some.

    Raises:
        AnalysisError: fewer than two recipes, no such reference, too few budgets.
    """
    table.need("c")
    groups = groups_of(table, [by])
    labels = labels_in(groups)
    if len(groups) < 2:
        raise AnalysisError(f"{by} has one value in {table.source}: nothing to compare")
    if reference is None:
        reference = labels[0]
    elif reference not in labels:
        raise AnalysisError(
            f"{by} has no value {reference!r}; it has {', '.join(labels)}"
        )
    fronts = {k: frontier(part) for k, part in groups.items()}
    for label, front in zip(labels, fronts.values(), strict=True):
        if len(np.unique(front.values("c"))) < FEWEST:
            raise AnalysisError(
                f"{label} has {len(np.unique(front.values('c')))} budgets on its "
                f"frontier; {FEWEST} are needed: add budgets"
            )
    rows = with_kinds(fronts, table).with_columns(x=table.columns["c"])
    draws = replace(bootstrap, kind=advise(rows).kind)
    together = fit_with_intervals(rows, grouped(get_law(CURVE), labels, SHARES), draws)
    apart = fit_with_intervals(rows, grouped(get_law(CURVE), labels, ()), draws)
    others = [label for label in labels if label != reference]
    shared = _common_budgets(fronts)
    middle = float(np.sqrt(shared[0] * shared[-1])) if len(shared) else 1.0
    pooled = {k: multiplier_at(together, reference, k, middle) for k in others}
    at_budgets = {
        (k, c): multiplier_at(apart, reference, k, c)
        for k in others
        for c in shared.tolist()
    }
    return Speedup(
        reference=reference,
        pooled=tuple(
            Multiplier(label=k, compute=None, band=band) for k, band in pooled.items()
        ),
        at_budgets=tuple(
            Multiplier(label=k, compute=c, band=band)
            for (k, c), band in at_budgets.items()
        ),
        fit=together,
        notes=together.diagnostics.notes,
    )


def _common_budgets(fronts: Mapping[str, Table]) -> FloatArray:
    """The ends and the middle of the compute that all frontiers cover, if any."""
    low = max(front.values("c").min() for front in fronts.values())
    high = min(front.values("c").max() for front in fronts.values())
    return np.geomspace(low, high, BUDGETS) if low < high else np.empty(0)


def multiplier_at(fit: Fit, other: str, label: str, compute: float) -> Band:
    """What one group needs for the loss of another with `compute`, divided by it.

    Both are taken from the same draws. It is infinite where the loss is never reached.

    Args:
        fit: of a grouped law.
        other: the group that is to reach the loss.
        label: the group that spends `compute`.
        compute: FLOPs.
    """
    ratios = [
        needed(get_law(fit.law), constants, label, other, compute) / compute
        for constants in (fit.constants, draws_of(fit, 0))
    ]
    value, draws = ratios
    tail = tail_of_fit(fit)
    if np.isfinite(draws).sum() < 2:
        return Band(value, np.asarray(np.nan), np.asarray(np.nan))
    # A draw in which the reference never gets there needs without end.
    return Band(value, *percentiles(np.where(np.isnan(draws), np.inf, draws), tail))


def needed(
    law: Law, constants: Constants, label: str, other: str, compute: float
) -> FloatArray:
    """FLOPs that one group needs for the loss that another reaches with `compute`.

    Args:
        law: grouped; reads n and d, or one scale that is the compute.
        constants: of the law, numbers or arrays of draws.
        label: the group that spends `compute`.
        other: the group that is to reach its loss; NaN where it never does.
        compute: FLOPs, as k n d with k = 6 for a law of n and d.
    """
    numbers = {name: float(i) for i, name in enumerate(labels_of(law))}
    if {"n", "d"} <= set(law.columns):
        mine = Demand(compute=compute, others={KIND: numbers[label]})
        loss = best_model(law, constants, mine).loss
        theirs = Demand(loss=loss, others={KIND: numbers[other]})
        found = best_model(law, constants, theirs)
        return theirs.total(found.n, found.d)
    (scale,) = set(law.columns) - {KIND}

    def losses(log_c: FloatArray, group: str) -> FloatArray:
        columns: dict[str, Number] = {scale: np.exp(log_c), KIND: numbers[group]}
        return law.losses(constants, columns)

    loss = losses(np.asarray(np.log(compute)), label)
    return np.exp(where_reached(lambda x: losses(x, other), loss, MOST))
