"""Laws of how a model is trained: batch size, fine-tuning, mixtures, streams."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from analysis.errors import AnalysisError
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
from analysis.laws.registry import register, register_factory


def _steps_to_target(p: Values, x: Values) -> Array:
    return p["a"] + p["b"] / x["batch"]


def _hyperbola(p: Values, x: Values) -> Array:
    return p["S_min"] * (1 + p["B_crit"] / x["batch"])


def _fine_tuned(p: Values, x: Values) -> Array:
    falls = jax.nn.sigmoid(-(p["B"] + p["beta"] * jnp.log(x["d"])))
    return p["E"] + p["room"] * falls


def _streams(p: Values, x: Values) -> Array:
    size = x["n"] * (p["k"] * jnp.log(x["streams"]) + 1)
    return p["E"] + p["A"] * size ** -p["alpha"]


def _growing(p: Values, x: Values) -> Array:
    return p["b"] * x["x"] ** p["c"]


def _from_the_ends(
    starts: Starts, x: Mapping[str, FloatArray], y: FloatArray
) -> Starts:
    """E below the least loss; the room to the loss without data; B by the middle."""
    low, high = float(np.min(y)), float(np.max(y))
    floor = low * starts["E"]
    room = (high - floor) * starts["room"]
    middle = float(np.log(x["d"]).mean())
    return starts | {
        "E": floor,
        "room": room,
        "B": starts["B"] - starts["beta"] * middle,
    }


CRITICAL_BATCH = register(
    Law(
        name="steps_to_target",
        predict=_steps_to_target,
        parameters=(coefficient("a"), coefficient("b")),
        columns=("batch",),
        formula="L = a + b/batch: steps to a loss",
        reference="Zhang et al. 2024 (2410.21676), sec. 3",
        unknown="a, where every batch is small, and b, where every batch is large",
        derived=(("B_crit", lambda p: np.asarray(p["b"]) / p["a"]),),
    )
)

HYPERBOLA = register(
    Law(
        name="critical_batch",
        predict=_hyperbola,
        parameters=(
            coefficient("S_min"),
            Parameter(name="B_crit", start=(1.0, 1e5), lower=0.0, scale="log"),
        ),
        columns=("batch",),
        formula="L = S_min (1 + B_crit/batch): steps to a loss, "
        "(S/S_min - 1)(E/E_min - 1) = 1",
        reference="McCandlish et al. 2018 (1812.06162), eq. 2.11",
        unknown="B_crit, where every batch is on one side of it",
        derived=(("E_min", lambda p: np.asarray(p["S_min"]) * p["B_crit"]),),
    )
)

FINE_TUNED = register(
    Law(
        name="fine_tuned",
        predict=_fine_tuned,
        parameters=(
            Parameter(name="E", start=(0.0, 0.98), lower=0.0),
            Parameter(name="room", start=(0.5, 3.0), lower=0.0, scale="log"),
            linear("B", (-3.0, 3.0), lower=-200.0, upper=200.0),
            exponent("beta", (0.1, 2.0)),
        ),
        columns=("d",),
        formula="L = E + (A - E) / (1 + e^B d^beta), room = A - E",
        reference="Lin et al. 2024 (2402.02314), rectified law",
        refine_starts=_from_the_ends,
        unknown="E, where the loss still falls at the most examples",
        derived=(("A", lambda p: np.asarray(p["E"]) + p["room"]),),
    )
)

STREAMS = register(
    Law(
        name="parallel",
        predict=_streams,
        parameters=(
            irreducible("E"),
            coefficient("A"),
            exponent("alpha"),
            Parameter(name="k", start=(0.0, 1.0), lower=0.0, upper=10.0),
        ),
        columns=("n", "streams"),
        formula="L = E + A (n (k ln streams + 1))^-alpha",
        reference="Chen et al. 2025 (2505.10475), eq. 5",
        unknown="k, where one number of streams is in all rows",
    )
)

GROWING = register(
    Law(
        name="growing",
        predict=_growing,
        parameters=(
            coefficient("b"),
            Parameter(name="c", start=(-1.0, 1.0), lower=-5.0, upper=5.0),
        ),
        columns=("x",),
        formula="L = b x^c: what grows, as N*, D* and B* do, or falls",
        reference="Kaplan et al. 2020 (2001.08361), sec. 6",
    )
)


def mixing(columns: tuple[str, ...]) -> Law:
    """The law L = c + k exp(Σ t_j r_j) over shares of data, e.g. `mixing:web,books`.

    Shares may be zero. They add up to one, so that one of them is left out.

    Raises:
        AnalysisError: no column, or one twice.
    """
    if not all(columns) or len(set(columns)) != len(columns):
        raise AnalysisError(
            f"mixing:{','.join(columns)} needs distinct column names after the colon"
        )

    def predict(p: Values, x: Values) -> Array:
        exponent_ = sum((p[f"t_{r}"] * x[r] for r in columns), start=jnp.zeros(()))
        return p["c"] + p["k"] * jnp.exp(exponent_)

    return Law(
        name=f"mixing:{','.join(columns)}",
        predict=predict,
        parameters=(
            irreducible("c"),
            coefficient("k"),
            *(linear(f"t_{r}", (-4.0, 4.0), lower=-50, upper=50) for r in columns),
        ),
        columns=columns,
        formula="L = c + k exp(" + " + ".join(f"t_{r} {r}" for r in columns) + ")",
        reference="Ye et al. 2024 (2403.16952), eq. 7",
        unknown="all of them, where the shares named add up to one",
    )


register_factory("mixing", mixing)
