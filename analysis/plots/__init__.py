"""Figures, one function each: data in, a matplotlib Figure out, no files touched.

`runs` draws what was measured, `rates` the learning rates tried, `laws` a fit against
its rows, `optimal` N* and D*; `intervals` how sure it is, `exponents` the estimators
side by side, `families` the families; `style` holds the look that they share.
"""

from analysis.plots.exponents import exponent_comparison
from analysis.plots.families import family_exponents, family_scaling
from analysis.plots.intervals import (
    bootstrap_pairs,
    profile_curve,
    profiles,
    rollout_errors,
)
from analysis.plots.laws import law_surface
from analysis.plots.optimal import isoflop_curves, optimal_allocation
from analysis.plots.rates import loss_against_rate, rates_against_size
from analysis.plots.runs import loss_against_compute, training_curves

__all__ = [
    "bootstrap_pairs",
    "exponent_comparison",
    "family_exponents",
    "family_scaling",
    "isoflop_curves",
    "law_surface",
    "loss_against_compute",
    "loss_against_rate",
    "optimal_allocation",
    "profile_curve",
    "profiles",
    "rates_against_size",
    "rollout_errors",
    "training_curves",
]
