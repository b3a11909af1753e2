"""A design that cannot identify the law: D = 20 N on every row."""

from __future__ import annotations

from analysis.fitting.fit import fit_law
from analysis.published.base import Outcome, equal, foreign, reproduction
from analysis.tables.table import read_table


@reproduction(
    "jax-scaling-laws",
    "github.com/visheshnarayan/jax-scaling-laws (8 runs)",
    "Eight runs with D = 20 N exactly; its authors predicted a loss of 2.70 and got "
    "3.31. The fit must be flagged as unidentifiable.",
)
def jax_scaling_laws() -> Outcome:
    """The fit is refused: D and N are collinear."""
    table = read_table(
        foreign("jax-scaling-laws/sweep_final.csv"),
        n="n_params",
        d="tokens",
        loss="final_val_loss",
    )
    fit = fit_law(table, "chinchilla")
    flagged = float("unidentifiable" in fit.diagnostics.flags)
    return Outcome(
        checks=(equal("flagged as unidentifiable", 1.0, flagged, 0.0),),
        notes=fit.diagnostics.notes,
    )
