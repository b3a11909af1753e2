"""Laws of routed and sparse models: parameters, experts, granularity, sparsity."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from analysis.laws.arrays import Array, FloatArray, Values
from analysis.laws.base import (
    Law,
    Parameter,
    Starts,
    coefficient,
    exponent,
    irreducible,
    linear,
)
from analysis.laws.registry import register


def effective_experts(p: Values, experts: Array) -> Array:
    """The experts that count: E_start for a single one, at most E_max (Clark, eq. 10).

    1/Ê = 1/(E - 1 + 1/(1/E_start - 1/E_max)) + 1/E_max.
    """
    first = 1 / (1 / p["E_start"] - 1 / (p["E_start"] + p["more"]))
    return 1 / (1 / (experts - 1 + first) + 1 / (p["E_start"] + p["more"]))


def _routed(p: Values, x: Values) -> Array:
    log_n = jnp.log10(x["n"])
    log_e = jnp.log10(effective_experts(p, x["experts"]))
    exponent_ = p["a"] * log_n + p["b"] * log_e + p["c"] * log_n * log_e + p["d"]
    return 10**exponent_


def _granular(p: Values, x: Values) -> Array:
    size = p["g"] * x["granularity"] ** -p["gamma"] + p["a"]
    return p["c"] + size * x["n"] ** -p["alpha"] + p["b"] * x["d"] ** -p["beta"]


def _sparse(p: Values, x: Values) -> Array:
    dense = jnp.maximum(1 - x["sparsity"], 1e-12)
    size = p["a_S"] * dense ** p["b_S"] + p["c_S"]
    return p["E"] + size * x["n"] ** -p["b_N"] + p["B"] * x["d"] ** -p["b_D"]


def _of_a_line(starts: Starts, x: Mapping[str, FloatArray], y: FloatArray) -> Starts:
    """d so that the middle of the table is met: the other constants are small."""
    middle, log_n = np.log10(y).mean(), np.log10(x["n"]).mean()
    return starts | {"d": middle - starts["a"] * log_n}


ROUTED = register(
    Law(
        name="routed",
        predict=_routed,
        parameters=(
            linear("a", (-0.2, -0.02), lower=-2.0, upper=2.0),
            linear("b", (-0.3, 0.0), lower=-2.0, upper=2.0),
            linear("c", (0.0, 0.02), lower=-1.0, upper=1.0),
            linear("d", (0.0, 2.0), lower=-10.0, upper=10.0),
            Parameter(name="E_start", start=(1.0, 6.0), lower=1.0, upper=1e3),
            Parameter(name="more", start=(50.0, 1e3), lower=1e-3, scale="log"),
        ),
        columns=("n", "experts"),
        formula="log10 L = a log10 n + b log10 E' + c log10 n log10 E' + d, "
        "1/E' = 1/(experts - 1 + (1/E_start - 1/E_max)^-1) + 1/E_max, "
        "more = E_max - E_start",
        reference="Clark et al. 2022 (2202.01169), eq. 10 and 11",
        refine_starts=_of_a_line,
        unknown="E_max, hardly: the loss is flat in it beyond the most experts tried",
        derived=(("E_max", lambda p: np.asarray(p["E_start"]) + p["more"]),),
    )
)

GRANULAR = register(
    Law(
        name="granular",
        predict=_granular,
        parameters=(
            irreducible("c"),
            coefficient("g"),
            coefficient("a"),
            coefficient("b"),
            exponent("gamma", (0.1, 2.0)),
            exponent("alpha"),
            exponent("beta"),
        ),
        columns=("n", "d", "granularity"),
        formula="L = c + (g/granularity^gamma + a) n^-alpha + b d^-beta",
        reference="Krajewski et al. 2024 (2402.07871), eq. 9",
        unknown="g and a one by one, where the granularity is the same in all rows",
    )
)

SPARSE = register(
    Law(
        name="sparse",
        predict=_sparse,
        parameters=(
            irreducible("E"),
            coefficient("a_S"),
            coefficient("c_S"),
            coefficient("B"),
            exponent("b_S", (0.1, 2.0)),
            exponent("b_N"),
            exponent("b_D"),
        ),
        columns=("n", "d", "sparsity"),
        formula="L = E + (a_S (1 - sparsity)^b_S + c_S) n^-b_N + B d^-b_D, "
        "n counts non-zero weights",
        reference="Frantar et al. 2023 (2309.08520), eq. 1",
        unknown="a_S and c_S one by one, where the sparsity is the same in all rows",
    )
)
