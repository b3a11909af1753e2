"""Laws of compressed models: bits per weight, quantisation afterwards, distillation."""

from __future__ import annotations

import jax.numpy as jnp

from analysis.laws.arrays import Array, Values
from analysis.laws.base import Law, Parameter, coefficient, exponent, irreducible
from analysis.laws.joint import d_exponent, n_exponent
from analysis.laws.registry import register


def _gamma(name: str) -> Parameter:
    """The bits at which a share of 1 - 1/e of the parameters counts."""
    return Parameter(name=name, start=(0.5, 8.0), lower=1e-3, upper=100.0)


def _precision(p: Values, x: Values) -> Array:
    counted = x["n"] * -jnp.expm1(-x["bits"] / p["gamma"])
    return p["E"] + p["A"] * counted ** -p["alpha"] + p["B"] * x["d"] ** -p["beta"]


def _precision_of_parts(p: Values, x: Values) -> Array:
    counted = x["n"]
    for part in ("weights", "activations", "cache"):
        counted = counted * -jnp.expm1(-x[f"bits_{part}"] / p[f"gamma_{part}"])
    return p["E"] + p["A"] * counted ** -p["alpha"] + p["B"] * x["d"] ** -p["beta"]


def _quantised(p: Values, x: Values) -> Array:
    grows = x["d"] ** p["gamma_D"] * x["n"] ** -p["gamma_N"]
    return p["C_T"] * grows * jnp.exp(-x["bits"] / p["gamma"])


def _distilled(p: Values, x: Values) -> Array:
    student = p["A"] * x["n"] ** -p["alpha"] + p["B"] * x["d"] ** -p["beta"]
    ratio = x["teacher"] / (x["alone"] * p["d1"])
    # ln(1 + r^(1/f)) as a softplus, which neither over- nor underflows.
    bend = jnp.logaddexp(0.0, jnp.log(ratio) / p["f1"])
    gap = student ** p["gamma"] * jnp.exp(-p["c1"] * p["f1"] * bend)
    return x["teacher"] + x["teacher"] ** -p["c0"] * gap


PRECISION = register(
    Law(
        name="precision",
        predict=_precision,
        parameters=(
            irreducible("E"),
            coefficient("A"),
            coefficient("B"),
            exponent("alpha"),
            exponent("beta"),
            _gamma("gamma"),
        ),
        columns=("n", "d", "bits"),
        formula="L = E + A (n (1 - e^(-bits/gamma)))^-alpha + B d^-beta",
        reference="Kumar et al. 2024 (2411.04330), eq. 3, for one precision",
        unknown="gamma, where no run has so few bits that it loses",
        derived=(("a", n_exponent), ("b", d_exponent)),
    )
)

PRECISION_OF_PARTS = register(
    Law(
        name="precision_of_parts",
        predict=_precision_of_parts,
        parameters=(
            irreducible("E"),
            coefficient("A"),
            coefficient("B"),
            exponent("alpha"),
            exponent("beta"),
            _gamma("gamma_weights"),
            _gamma("gamma_activations"),
            _gamma("gamma_cache"),
        ),
        columns=("n", "d", "bits_weights", "bits_activations", "bits_cache"),
        formula="L = E + A n'^-alpha + B d^-beta, "
        "n' = n prod_i (1 - e^(-bits_i/gamma_i))",
        reference="Kumar et al. 2024 (2411.04330), eq. 3",
        unknown="the gammas one by one, where the parts always have equal bits",
        derived=(("a", n_exponent), ("b", d_exponent)),
    )
)

QUANTISED = register(
    Law(
        name="quantised",
        predict=_quantised,
        parameters=(
            coefficient("C_T"),
            exponent("gamma_D"),
            exponent("gamma_N"),
            _gamma("gamma"),
        ),
        columns=("n", "d", "bits"),
        formula="L = C_T d^gamma_D n^-gamma_N e^(-bits/gamma): the loss that "
        "quantisation after training adds",
        reference="Kumar et al. 2024 (2411.04330), eq. 2",
        unknown="gamma_D and gamma_N one by one, where d follows n",
    )
)

DISTILLED = register(
    Law(
        name="distilled",
        predict=_distilled,
        parameters=(
            coefficient("A"),
            coefficient("B"),
            exponent("alpha"),
            exponent("beta"),
            exponent("gamma", (0.3, 2.0)),
            Parameter(name="c0", start=(0.0, 3.0), lower=-10.0, upper=10.0),
            Parameter(name="c1", start=(0.1, 3.0), lower=0.0, upper=50.0),
            Parameter(name="d1", start=(0.5, 2.0), lower=0.05, upper=20.0),
            Parameter(name="f1", start=(0.05, 1.0), lower=1e-2, upper=10.0),
        ),
        columns=("n", "d", "teacher", "alone"),
        formula="L = teacher + teacher^-c0 (1 + (teacher/(alone d1))^(1/f1))^(-c1 f1) "
        "(A n^-alpha + B d^-beta)^gamma; alone is the student's loss without a teacher",
        reference="Busbridge et al. 2025 (2502.08606), eq. 8",
        unknown="A, B, alpha, beta and gamma together: hold some at those of students "
        "without a teacher",
    )
)
