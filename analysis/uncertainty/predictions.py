"""What a fit predicts, with bands from its bootstrap: losses, and the best models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from analysis.errors import AnalysisError
from analysis.fitting.record import Fit
from analysis.laws.allocation import Allocation, Demand, best_model
from analysis.laws.arrays import FloatArray, Number
from analysis.laws.registry import get_law
from analysis.uncertainty.beyond import Beyond, scale_of
from analysis.uncertainty.intervals import percentiles, tail_of_fit


class Band(NamedTuple):
    """A value with an interval; arrays of one shape."""

    value: FloatArray
    low: FloatArray
    high: FloatArray


def _band(value: FloatArray, draws: FloatArray, tail: float) -> Band:
    if len(draws) == 0:
        unknown = np.full(np.shape(value), np.nan)
        return Band(np.asarray(value), unknown, unknown)
    return Band(np.asarray(value), *percentiles(draws, tail))


def draws_of(fit: Fit, axes: int) -> dict[str, FloatArray]:
    """The replicas' constants (replicas, 1, …), to broadcast over rows of `axes`."""
    return {k: np.asarray(v).reshape(-1, *(1,) * axes) for k, v in fit.replicas.items()}


def predict(
    fit: Fit, columns: Mapping[str, ArrayLike], *, new_run: bool = False
) -> Band:
    """The predicted loss (nats) with a band from the bootstrap.

    Beyond the fitted rows the band also holds the error that the law made over such
    distances in roll-outs (`uncertainty.beyond`).

    Args:
        fit: a fit; without replicas the band is NaN.
        columns: column of the law -> value or array.
        new_run: the band is of the loss that one further run will measure (prediction
            interval: each draw carries a resampled residual), not of the law.

    Raises:
        AnalysisError: a column of the law is missing.
    """
    law = get_law(fit.law)
    missing = [k for k in law.columns if k not in columns]
    if missing:
        raise AnalysisError(f"{law.name} needs {', '.join(missing)} to predict a loss")
    arrays = {k: np.asarray(columns[k], np.float64) for k in law.columns}
    axes = np.broadcast(*arrays.values()).ndim
    value = law.losses(fit.constants, arrays)
    draws = law.losses(draws_of(fit, axes), arrays) if fit.replicas else np.empty(0)
    if new_run and len(draws):
        draws = _with_noise(fit, draws)
    band = _band(value, draws, tail_of_fit(fit))
    return _widened(fit, band, scale_of(arrays, fit.provenance.flops_per_nd))


def _widened(fit: Fit, band: Band, scale: FloatArray | None) -> Band:
    """The band of a loss with the law's own error at scales beyond its rows.

    The error is taken as evenly distributed up to √3 times its root mean square: it is
    one bend of one law, not a sum of many. Both parts are independent.
    """
    if scale is None or not fit.provenance.beyond:
        return band
    level = fit.provenance.bootstrap.get("level", 0.95)
    error = level * np.sqrt(3) * Beyond(**fit.provenance.beyond).error(scale)
    with np.errstate(all="ignore"):
        down = np.hypot(np.log(band.value / band.low), error)
        up = np.hypot(np.log(band.high / band.value), error)
        low, high = band.value * np.exp(-down), band.value * np.exp(up)
    beyond = (error > 0) & np.isfinite(low) & np.isfinite(high)
    return Band(
        band.value,
        np.asarray(np.where(beyond, low, band.low)),
        np.asarray(np.where(beyond, high, band.high)),
    )


def _with_noise(fit: Fit, draws: FloatArray) -> FloatArray:
    """The draws, each with a residual, inflated for the constants that were fitted."""
    residuals = np.asarray(fit.residuals)
    spare = max(1, len(residuals) - len(fit.constants))
    residuals = residuals * np.sqrt(len(residuals) / spare)
    rng = np.random.default_rng(fit.provenance.bootstrap.get("seed", 0))
    noise = rng.choice(residuals, size=draws.shape)
    return draws * np.exp(-noise) if fit.provenance.space == "log" else draws - noise


def optimum_at(fit: Fit, compute: Number) -> dict[str, Band]:
    """The optimal N*(C), D*(C), D*/N* and loss at C, with confidence bands.

    The budget is spent as C = k n d with the k of the fit's table.

    Returns:
        "n", "d", "d_per_n" and "loss" -> `Band` of the shape of `compute`.
    """
    k = fit.provenance.flops_per_nd
    best = best_at(fit, Demand(compute=compute, flops_per_nd=k))
    return {name: best[name] for name in ("n", "d", "d_per_n", "loss")}


def best_at(fit: Fit, demand: Demand) -> dict[str, Band]:
    """The best model that meets a demand, with confidence bands.

    Returns:
        "n", "d", "d_per_n", "loss", "training" and "total" (FLOPs) -> `Band` of the
        shape of the budget, or of the loss that was asked for.

    Raises:
        AnalysisError: the law of the fit has no n and d, or further columns.
    """
    law = get_law(fit.law)
    asked = demand.loss if demand.compute is None else demand.compute
    axes = np.ndim(np.asarray(asked))
    best = _parts(demand, best_model(law, fit.constants, demand))
    nothing = Allocation(np.empty(0), np.empty(0), np.empty(0))
    drawn = best_model(law, draws_of(fit, axes), demand) if fit.replicas else nothing
    draws = _parts(demand, drawn)
    tail = tail_of_fit(fit)
    bands = {name: _band(value, draws[name], tail) for name, value in best.items()}
    if demand.loss is None:
        scale = demand.training(bands["n"].value, bands["d"].value)
        bands["loss"] = _widened(fit, bands["loss"], scale)
    return bands


def _parts(demand: Demand, found: Allocation) -> dict[str, FloatArray]:
    n, d, loss = found
    return {
        "n": n,
        "d": d,
        "d_per_n": d / n,
        "loss": loss,
        "training": demand.training(n, d),
        "total": demand.total(n, d),
    }
