"""The judgement of a law by prediction: fit below a compute cutoff, test above it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.errors import AnalysisError
from analysis.fitting.fit import fit_law
from analysis.fitting.options import DEFAULT, FitOptions
from analysis.fitting.problem import role_of
from analysis.laws.base import Law
from analysis.laws.registry import get_law
from analysis.tables.table import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class HoldOut:
    """The prediction errors of a law above one compute cutoff.

    Attributes:
        cutoff: greatest C (FLOPs) that the fit saw.
        rows_fitted, rows_predicted: on either side.
        reach: greatest predicted C divided by the cutoff.
        rms_log_error: root mean square of ln(predicted / observed) above the cutoff.
        mean_log_error: its mean; negative when the law promises too low a loss.
    """

    cutoff: float
    rows_fitted: int
    rows_predicted: int
    reach: float
    rms_log_error: float
    mean_log_error: float


def cutoffs(table: Table, law: Law, most: int = 6) -> tuple[float, ...]:
    """The budgets to cut at: those that leave rows to fit and rows to predict.

    A cutoff keeps at least one and a half rows per constant below it and one row above.

    Args:
        table: rows with a role c (FLOPs).
        law: the one with the most constants.
        most: cutoffs, spread evenly over those that are possible.
    """
    c = np.sort(table.values("c"))
    least = int(np.ceil(1.5 * len(law.parameters)))
    # A step of under 5 % is the same nominal budget.
    steps = np.flatnonzero(np.diff(np.log(c)) > 0.05)
    usable = [float(c[i]) for i in steps if i + 1 >= least]
    if len(usable) > most:
        pick = np.unique(np.linspace(0, len(usable) - 1, most).round().astype(int))
        usable = [usable[i] for i in pick]
    return tuple(usable)


def extrapolate(
    table: Table,
    law: Law | str = "chinchilla",
    *,
    at: Sequence[float] | None = None,
    options: FitOptions = DEFAULT,
) -> tuple[HoldOut, ...]:
    """The errors above each cutoff of a fit below it, cheapest cutoff first.

    Args:
        table: rows with a role c.
        law: name or law.
        at: cutoffs in FLOPs; chosen from the rows' budgets when None.
        options: as for `fit_law`.

    Raises:
        AnalysisError: no cutoff leaves enough rows on both sides.
    """
    law = get_law(law) if isinstance(law, str) else law
    chosen = cutoffs(table, law) if at is None else tuple(at)
    if not chosen:
        raise AnalysisError(
            f"{len(table)} rows are too few to fit {law.name} below a compute cutoff "
            "and predict above it"
        )
    return tuple(_hold_out(table, law, x, options) for x in chosen)


def _hold_out(table: Table, law: Law, cutoff: float, options: FitOptions) -> HoldOut:
    c = table.values("c")
    below = c <= cutoff * (1 + 1e-9)
    fitted = fit_law(table.keep(below, f"c above {cutoff:g}"), law, options)
    above = table.keep(~below, f"c up to {cutoff:g}")
    columns = {k: above.values(role_of(law, k, table)) for k in law.columns}
    predicted = law.losses(fitted.constants, columns)
    error = np.log(predicted / above.values("loss"))
    return HoldOut(
        cutoff=float(cutoff),
        rows_fitted=int(below.sum()),
        rows_predicted=int((~below).sum()),
        reach=float(c.max() / cutoff),
        rms_log_error=float(np.sqrt(np.mean(error**2))),
        mean_log_error=float(np.mean(error)),
    )
