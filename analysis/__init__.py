"""Fits scaling laws to any table of (parameters n, tokens d, FLOPs c, loss).

The path: `tables` -> `laws` -> `fitting` -> `uncertainty` -> `optimal`, `tuning`,
`selection` -> `plots`, `report`.

Fit somebody's CSV with intervals::

    from analysis import Bootstrap, read_table, fit_with_intervals

    table = read_table("runs.csv", n="params", d="tokens", c="6 * params * tokens",
                       loss="val_loss", where="val_loss < 3.5")
    fit = fit_with_intervals(table, "chinchilla", Bootstrap(replicas=1000))
    print(fit)                                  # constants, intervals, certificate
    fit.constants["alpha"], fit.intervals["a"]  # a = beta / (alpha + beta)
    fit.diagnostics.flags                       # e.g. ("unidentifiable",)
    fit.save("fit.json")                        # Fit.load("fit.json") == fit

A results folder needs no column names; other conventions are columns of it::

    table = read_table("results/quickstart")            # n=n_matmul, d=tokens, …
    fit_law(table, "chinchilla")                         # without intervals, faster
    fit_law(table.with_columns(n="n_total"), "chinchilla")
    fit_law(table, "power_constant")                        # loss against c
    fit_law(table, "chinchilla", FitOptions(objective=Objective(loss="squares")))

`harness laws` or `all_laws()` lists the forms; `get_law("additive:n,d,width")` makes
one over any columns, `register(Law(…))` adds one's own, `fix(law, alpha=0.34)` holds
constants. Bootstraps go by row, run, trunk, group or seed: `Bootstrap(kind="run")`;
`advise(table)` says which one suits, and why.

Predict and allocate::

    predict(fit, {"n": 7e10, "d": 1.4e12})   # Band(value, low, high), nats
    predict(fit, {"n": 7e10, "d": 1.4e12}, new_run=True)   # of one further run
    optimum_at(fit, 5.76e23)                 # {"n", "d", "d_per_n", "loss"} -> Band

IsoFLOP curves::

    curves = isoflop(table, budget="grid.compute")
    curves.n_star.exponent, curves.n_star.interval, curves.notes

A sweep whose learning rate was tuned has a run at every rate; its minima are asked
for, and any other table stays as it is::

    table = at_minima(read_table("results/text_rates"))  # one row per tuned point
    for summary in summarise_tuning(read_lr_curves("runs.csv", lr="lr")):
        summary.family, summary.curves[0].lr, summary.rule.exponents

Judge and plan::

    extrapolate(table, "chinchilla")            # errors beyond compute cutoffs
    from analysis.selection.compare import compare
    compare(table)                           # suitable laws, best predictor first
    side_by_side(table, conventions=("n_matmul", "n_total"))   # approaches 1 to 3
    suggest(table, budget=1e21, target=Target(kind="loss", compute=1e23)).runs

    from analysis.uncertainty.profile import profile
    parts = fit_parts(table, "chinchilla")   # fit, problem and optimum
    profile(parts.problem, parts.optimum, "alpha").interval

`write_report(folder)` writes `report/index.html` and `fits.json` into a results folder;
`analysis.plots` holds the figures, `analysis.published` published numbers to reproduce.

Importing this package imports neither jax nor pandas; the names load on first use.
A user's mistake raises `AnalysisError` with one line that says what to do.
"""

from importlib import import_module
from typing import Any

from analysis.errors import AnalysisError

_HOME = {
    "Table": "tables.table",
    "read_table": "tables.table",
    "table_from_frame": "tables.table",
    "Law": "laws",
    "Parameter": "laws",
    "all_laws": "laws",
    "get_law": "laws",
    "fix": "laws",
    "register": "laws",
    "FitOptions": "fitting.options",
    "Objective": "fitting.options",
    "Search": "fitting.options",
    "fit_law": "fitting.fit",
    "fit_parts": "fitting.fit",
    "Fit": "fitting.record",
    "Bootstrap": "uncertainty.units",
    "advise": "uncertainty.units",
    "Demand": "laws.allocation",
    "best_at": "uncertainty.predictions",
    "optimum_at": "uncertainty.predictions",
    "predict": "uncertainty.predictions",
    "fit_with_intervals": "uncertainty.intervals",
    "isoflop": "optimal.isoflop",
    "side_by_side": "optimal.side_by_side",
    "extrapolate": "selection.extrapolation",
    "at_minima": "tuning.lr_minima",
    "read_lr_curves": "tuning.lr_minima",
    "summarise_tuning": "tuning.summary",
    "Target": "selection.target",
    "suggest": "selection.suggest",
    "write_report": "report.write",
}

__all__ = ["AnalysisError", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'analysis' has no attribute {name!r}")
    value = getattr(import_module(f"analysis.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
