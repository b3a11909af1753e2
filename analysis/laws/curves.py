"""Laws in one variable `x` (parameters, examples or FLOPs): the learning curves."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from analysis.laws.arrays import Array, FloatArray, Predict, Values
from analysis.laws.base import (
    Law,
    Parameter,
    Starts,
    coefficient,
    exponent,
    irreducible,
    linear,
    scale_of,
)
from analysis.laws.registry import register


def _power(p: Values, x: Values) -> Array:
    return p["b"] * x["x"] ** -p["c"]


def _power_constant(p: Values, x: Values) -> Array:
    return p["E"] + p["b"] * x["x"] ** -p["c"]


def _shifted(p: Values, x: Values) -> Array:
    return p["b"] * (1 / x["x"] + p["g"]) ** p["c"]


def _sigmoidal(p: Values, x: Values) -> Array:
    """Solve ln u - a ln(1-u) = z for u = (y-E)/(e0-E), with u = sigmoid(s).

    The left side rises with slope between 1 and a, so Newton's method converges from
    anywhere; the last two steps carry the first and second derivatives.
    """
    room = p["e0"] - p["E"]
    z = (
        jnp.log(p["b"])
        - p["c"] * jnp.log(x["x"])
        + (p["a"] - 1) * jnp.log(jnp.maximum(room, 1e-300))
    )

    def newton(_: int, s: Array, z: Array = z, a: Array = p["a"]) -> Array:
        value = jax.nn.log_sigmoid(s) - a * jax.nn.log_sigmoid(-s) - z
        return s - value / (jax.nn.sigmoid(-s) + a * jax.nn.sigmoid(s))

    def frozen(i: int, s: Array) -> Array:
        stop = jax.lax.stop_gradient
        return newton(i, s, stop(z), stop(p["a"]))

    s = jax.lax.fori_loop(0, 10, frozen, jax.lax.stop_gradient(jnp.zeros_like(z)))
    s = newton(0, newton(0, jax.lax.stop_gradient(s)))
    return p["E"] + room * jax.nn.sigmoid(s)


def _sigmoidal_starts(
    starts: Starts, x: Mapping[str, FloatArray], y: FloatArray
) -> Starts:
    """E below and e0 above all losses; then b and c by a line through the logarithms.

    Given E, e0 and a, the law says ln((y-E)/(e0-y)^a) = ln b - c ln x.
    """
    low, high = float(np.min(y)), float(np.max(y))
    floor, ceiling = low * starts["E"], high + (high - low + 1e-9) * starts["e0"]
    left = np.log(y - floor[:, None])
    left = left - starts["a"][:, None] * np.log(ceiling[:, None] - y)
    log_x = np.log(x["x"])
    centred = log_x - log_x.mean()
    slope = left @ centred / (centred @ centred)
    log_b = left.mean(axis=1) - slope * log_x.mean()
    c = np.clip(-slope, 1e-3, 5.0)
    return starts | {"E": floor, "e0": ceiling, "b": np.exp(log_b), "c": c}


def _broken(breaks: int) -> Predict:
    def predict(p: Values, x: Values) -> Array:
        log_x = jnp.log(x["x"])
        log_y = -p["c0"] * log_x
        for i in range(1, breaks + 1):
            f = p[f"f{i}"]
            bend = jax.nn.softplus((log_x - jnp.log(p[f"d{i}"])) / f)
            log_y = log_y - p[f"c{i}"] * f * bend
        return p["E"] + p["b"] * jnp.exp(log_y)

    return predict


POWER = register(
    Law(
        name="power",
        predict=_power,
        parameters=(coefficient("b"), exponent("c")),
        columns=("x",),
        formula="L = b x^-c",
        reference="Hestness et al. 2017; M1 of Alabdulmohsin et al. 2022",
    )
)

POWER_CONSTANT = register(
    Law(
        name="power_constant",
        predict=_power_constant,
        parameters=(irreducible("E"), coefficient("b"), exponent("c")),
        columns=("x",),
        formula="L = E + b x^-c",
        reference="Rosenfeld et al. 2019; M2 of Alabdulmohsin et al. 2022",
    )
)

SHIFTED_POWER = register(
    Law(
        name="shifted_power",
        predict=_shifted,
        parameters=(
            coefficient("b"),
            exponent("c"),
            scale_of("g", "1/x", (1e-6, 1e2)),
        ),
        columns=("x",),
        formula="L = b (1/x + g)^c",
        reference="M3 of Alabdulmohsin et al. 2022 (2209.06640)",
    )
)

SIGMOIDAL = register(
    Law(
        name="sigmoidal",
        predict=_sigmoidal,
        parameters=(
            Parameter(name="b", start=(1.0, 1.0), lower=0.0, scale="log"),
            exponent("c"),
            Parameter(name="E", start=(0.0, 0.98), lower=0.0),
            Parameter(name="e0", start=(0.002, 1.0), lower=0.0),
            Parameter(name="a", start=(0.02, 3.0), lower=1e-3, upper=50.0),
        ),
        columns=("x",),
        formula="(L - E) / (e0 - L)^a = b x^-c",
        reference="M4 of Alabdulmohsin et al. 2022 (2209.06640)",
        refine_starts=_sigmoidal_starts,
    )
)


def _broken_law(breaks: int) -> Law:
    bends: list[Parameter] = []
    for i in range(1, breaks + 1):
        bends += [
            linear(f"c{i}", (-0.5, 1.0), lower=-10.0, upper=10.0),
            scale_of(f"d{i}", "x", (1e-2, 1e2)),
            Parameter(name=f"f{i}", start=(0.05, 2.0), lower=1e-2, upper=10.0),
        ]
    c0 = linear("c0", (0.0, 1.0), lower=-10.0, upper=10.0)
    return Law(
        name=f"broken_{breaks}",
        predict=_broken(breaks),
        parameters=(irreducible("E"), coefficient("b"), c0, *bends),
        columns=("x",),
        formula="L = E + b x^-c0 prod_i (1 + (x/d_i)^(1/f_i))^(-c_i f_i), "
        f"{breaks} break{'s' * (breaks > 1)}",
        reference="Caballero et al. 2022 (2210.14891), eq. 1",
    )


BROKEN = tuple(register(_broken_law(i)) for i in (1, 2, 3))
