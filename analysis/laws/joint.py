"""Laws of loss against parameters `n` and training tokens `d` together."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from analysis.errors import AnalysisError
from analysis.laws.arrays import Array, Constants, FloatArray, Number, Values
from analysis.laws.base import (
    Law,
    Parameter,
    coefficient,
    exponent,
    irreducible,
    scale_of,
)
from analysis.laws.registry import register, register_factory


def _chinchilla(p: Values, x: Values) -> Array:
    return p["E"] + p["A"] * x["n"] ** -p["alpha"] + p["B"] * x["d"] ** -p["beta"]


def _coupled(p: Values, x: Values) -> Array:
    reducible = p["A"] * x["n"] ** -p["alpha"] + p["B"] * x["d"] ** -p["beta"]
    return p["E"] + reducible ** p["k"]


def _tied(p: Values, x: Values) -> Array:
    return p["E"] + p["A"] * x["n"] ** -p["alpha"] + p["B"] * x["d"] ** -p["alpha"]


def _kaplan(p: Values, x: Values) -> Array:
    by_size = (p["Nc"] / x["n"]) ** (p["alpha_N"] / p["alpha_D"])
    return (by_size + p["Dc"] / x["d"]) ** p["alpha_D"]


def _overtrained(p: Values, x: Values) -> Array:
    ratio, compute = x["d"] / x["n"], 6 * x["n"] * x["d"]
    eta = p["eta"]
    return p["E"] + (p["a"] * ratio**eta + p["b"] * ratio**-eta) * compute**-eta


def _diminishing(total: Array, unique: Array, scale: Array) -> Array:
    """The effective amount of `total` when only `unique` of it is new (eq. 5, 6)."""
    repeats = total / unique - 1
    return unique * (1 + scale * -jnp.expm1(-repeats / scale))


def matched_n(p: Values, d: Array) -> Array:
    """The parameters that suit d tokens (Muennighoff et al. 2023, eq. 8).

    From D* = (C/6)^b / G and N* = G (C/6)^a: N = G (d G)^(a/b), a/b = β/α.
    """
    alpha, beta = p["alpha"], p["beta"]
    g = (alpha * p["A"] / (beta * p["B"])) ** (1 / (alpha + beta))
    return g * (d * g) ** (beta / alpha)


def _data_constrained(p: Values, x: Values) -> Array:
    unique_d = jnp.minimum(x["u"], x["d"])
    unique_n = jnp.minimum(matched_n(p, unique_d), x["n"])
    n = _diminishing(x["n"], unique_n, p["R_N"])
    d = _diminishing(x["d"], unique_d, p["R_D"])
    return p["E"] + p["A"] * n ** -p["alpha"] + p["B"] * d ** -p["beta"]


def _share(one: Number, other: Number) -> FloatArray:
    """The share one/(one+other); NaN where both are zero: no optimum follows then."""
    total = np.asarray(one, np.float64) + other
    share = np.full(total.shape, np.nan)
    return np.asarray(np.divide(one, total, out=share, where=total != 0))


def n_exponent(p: Constants) -> FloatArray:
    """The exponent a of N* ∝ C^a, β/(α+β) at C ∝ N·D (Hoffmann et al. 2022, eq. 4)."""
    return _share(p["beta"], p["alpha"])


def d_exponent(p: Constants) -> FloatArray:
    """The exponent b of D* ∝ C^b: α/(α+β) = 1 - a (Hoffmann et al. 2022, eq. 4)."""
    return _share(p["alpha"], p["beta"])


def kaplan_n_exponent(p: Constants) -> FloatArray:
    """The exponent of N* ∝ C^a under C ∝ N·D: αD/(αN+αD) at the law's own optimum."""
    return _share(p["alpha_D"], p["alpha_N"])


CHINCHILLA = register(
    Law(
        name="chinchilla",
        predict=_chinchilla,
        parameters=(
            irreducible("E"),
            coefficient("A"),
            coefficient("B"),
            exponent("alpha"),
            exponent("beta"),
        ),
        columns=("n", "d"),
        formula="L = E + A n^-alpha + B d^-beta",
        reference="Hoffmann et al. 2022 (2203.15556), eq. 10",
        derived=(("a", n_exponent), ("b", d_exponent)),
    )
)

TIED = register(
    Law(
        name="tied",
        predict=_tied,
        parameters=(
            irreducible("E"),
            coefficient("A"),
            coefficient("B"),
            exponent("alpha"),
        ),
        columns=("n", "d"),
        formula="L = E + A n^-alpha + B d^-alpha",
        reference="Muennighoff et al. 2023 (2305.16264), app. A",
    )
)

COUPLED = register(
    Law(
        name="coupled",
        predict=_coupled,
        parameters=(
            irreducible("E"),
            Parameter(name="A", start=(1e-2, 1e6), lower=0.0, scale="log"),
            Parameter(name="B", start=(1e-2, 1e6), lower=0.0, scale="log"),
            exponent("alpha"),
            exponent("beta"),
            Parameter(name="k", start=(0.3, 2.0), lower=0.02, upper=10.0),
        ),
        columns=("n", "d"),
        formula="L = E + (A n^-alpha + B d^-beta)^k",
        reference="Busbridge et al. 2025 (2502.08606), eq. 4",
        derived=(("a", n_exponent), ("b", d_exponent)),
        unknown="E and k one by one, within two decades of compute: profile them",
    )
)

KAPLAN = register(
    Law(
        name="kaplan",
        predict=_kaplan,
        parameters=(
            scale_of("Nc", "n", (1e0, 1e9)),
            scale_of("Dc", "d", (1e0, 1e9)),
            exponent("alpha_N"),
            Parameter(name="alpha_D", start=(0.05, 1.0), lower=1e-3, upper=5.0),
        ),
        columns=("n", "d"),
        formula="L = ((Nc/n)^(alpha_N/alpha_D) + Dc/d)^alpha_D",
        reference="Kaplan et al. 2020 (2001.08361), eq. 1.5",
        derived=(("a", kaplan_n_exponent),),
    )
)

OVERTRAINED = register(
    Law(
        name="overtrained",
        predict=_overtrained,
        parameters=(
            irreducible("E"),
            coefficient("a"),
            coefficient("b"),
            exponent("eta", (0.03, 0.6)),
        ),
        columns=("n", "d"),
        formula="L = E + (a M^eta + b M^-eta) C^-eta, M = d/n, C = 6 n d",
        reference="Gadre et al. 2024 (2403.08540), eq. 4",
    )
)

DATA_CONSTRAINED = register(
    Law(
        name="data_constrained",
        predict=_data_constrained,
        parameters=(
            *CHINCHILLA.parameters,
            Parameter(name="R_N", start=(0.5, 50.0), lower=0.0, scale="log"),
            Parameter(name="R_D", start=(0.5, 200.0), lower=0.0, scale="log"),
        ),
        columns=("n", "d", "u"),
        formula="L = E + A n'^-alpha + B d'^-beta, "
        "d' = u (1 + R_D (1 - e^(-(d/u-1)/R_D)))",
        reference="Muennighoff et al. 2023 (2305.16264), eq. 7",
        derived=(("a", n_exponent), ("b", d_exponent)),
    )
)


def additive(columns: tuple[str, ...]) -> Law:
    """The law L = E + Σ A_k k^-alpha_k over any columns, e.g. `additive:n,d,width`.

    Raises:
        AnalysisError: no column, or one twice.
    """
    if not all(columns) or len(set(columns)) != len(columns):
        raise AnalysisError(
            f"additive:{','.join(columns)} needs distinct column names after the colon"
        )

    def predict(p: Values, x: Values) -> Array:
        loss = p["E"]
        for k in columns:
            loss = loss + p[f"A_{k}"] * x[k] ** -p[f"alpha_{k}"]
        return loss

    pairs = ((coefficient(f"A_{k}"), exponent(f"alpha_{k}")) for k in columns)
    return Law(
        name=f"additive:{','.join(columns)}",
        predict=predict,
        parameters=(irreducible("E"), *(p for pair in pairs for p in pair)),
        columns=columns,
        formula="L = E + " + " + ".join(f"A_{k} {k}^-alpha_{k}" for k in columns),
        reference="Hoffmann et al. 2022 (2203.15556), eq. 10, with any columns",
    )


register_factory("additive", additive)
