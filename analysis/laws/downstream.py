"""Laws of what follows from a loss: accuracy, error, another loss; and of rewards."""

from __future__ import annotations

from collections.abc import Mapping

import jax
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
    scale_of,
)
from analysis.laws.registry import register


def _sigmoid_of_loss(p: Values, x: Values) -> Array:
    return p["b"] + p["p0"] * jax.nn.sigmoid(-p["k"] * (x["x"] - p["L0"]))


def _exponential_of_loss(p: Values, x: Values) -> Array:
    return p["epsilon"] - p["k"] * jnp.exp(-p["gamma"] * x["x"])


def _loss_to_loss(p: Values, x: Values) -> Array:
    above = jnp.maximum(x["x"] - p["E0"], 1e-12)
    return p["E1"] + p["K"] * above ** p["kappa"]


def _below_the_least(
    starts: Starts, x: Mapping[str, FloatArray], y: FloatArray
) -> Starts:
    """E0 is drawn as a share of the least loss, below which it must lie."""
    return starts | {"E0": starts["E0"] * float(np.min(x["x"]))}


def _reward(p: Values, x: Values) -> Array:
    rise = jax.nn.sigmoid(p["B"] * (jnp.log(x["x"]) - jnp.log(p["C_mid"])))
    return p["R0"] + p["rise"] * rise


SIGMOID_OF_LOSS = register(
    Law(
        name="sigmoid_of_loss",
        predict=_sigmoid_of_loss,
        parameters=(
            Parameter(name="b", start=(0.0, 0.5), lower=-1.0, upper=1.0),
            Parameter(name="p0", start=(0.2, 1.0), lower=0.0, upper=10.0),
            Parameter(name="k", start=(0.5, 20.0), lower=0.0, upper=1e3),
            Parameter(name="L0", start=(0.3, 4.0), lower=-20.0, upper=100.0),
        ),
        columns=("x",),
        formula="L = b + p0 / (1 + e^(k (x - L0))): accuracy from a loss x",
        reference="Bhagia et al. 2024 (2412.04403), eq. 3",
        unknown="p0 while no accuracy is near its ceiling, b while none is near chance",
    )
)

EXPONENTIAL_OF_LOSS = register(
    Law(
        name="exponential_of_loss",
        predict=_exponential_of_loss,
        parameters=(
            Parameter(name="epsilon", start=(0.3, 1.0), lower=0.0),
            Parameter(name="k", start=(0.1, 10.0), lower=0.0, scale="log"),
            Parameter(name="gamma", start=(0.1, 3.0), lower=0.0, upper=50.0),
        ),
        columns=("x",),
        formula="L = epsilon - k e^(-gamma x): error from a loss x",
        reference="Gadre et al. 2024 (2403.08540), eq. 5",
        unknown="epsilon while no error is near chance",
    )
)

LOSS_TO_LOSS = register(
    Law(
        name="loss_to_loss",
        predict=_loss_to_loss,
        parameters=(
            irreducible("E1"),
            coefficient("K"),
            exponent("kappa", (0.3, 2.0)),
            Parameter(name="E0", start=(0.0, 0.98), lower=0.0),
        ),
        columns=("x",),
        formula="L = K (x - E0)^kappa + E1: one loss from another, x",
        reference="Brandfonbrener et al. 2024 (2411.12925), eq. 1",
        refine_starts=_below_the_least,
        unknown="E0 and E1 one by one: hold those of the two laws in scale",
    )
)

REWARD = register(
    Law(
        name="reward",
        predict=_reward,
        parameters=(
            linear("R0", (0.0, 0.5)),
            Parameter(name="rise", start=(0.05, 1.0), lower=0.0),
            exponent("B", (0.2, 3.0), upper=20.0),
            scale_of("C_mid", "x", (1e-2, 1e2)),
        ),
        columns=("x",),
        formula="L = R0 + (A - R0) / (1 + (C_mid/x)^B), rise = A - R0: a reward",
        reference="Khatri et al. 2025 (2510.13786), eq. 1",
        unknown="the ceiling R0 + rise while no reward is near it",
        derived=(("A", lambda p: np.asarray(p["R0"]) + p["rise"]),),
    )
)
