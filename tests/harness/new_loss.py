"""A loss and two metrics as a user would add them to an experiment file."""

import jax.numpy as jnp
import numpy as np
import optax

from harness.specs.base import spec
from harness.specs.loss import Loss, Metric


@spec
class Huber(Loss):
    """Squares near zero, absolute values beyond `delta`."""

    name = "huber"
    implementation = f"{__name__}:huber"
    delta: float = 0.5


def huber(outputs, targets, h):
    return optax.huber_loss(outputs, targets, delta=h.delta).mean(axis=-1)


@spec
class Within(Metric):
    """Share of answers that are nearly right."""

    name = "within"
    implementation = f"{__name__}:within"
    tolerance: float = 0.25


def within(outputs, targets, h):
    return jnp.mean(jnp.abs(outputs - targets) < h.tolerance, axis=-1, dtype="float32")


@spec
class Worst(Metric):
    """The largest miss."""

    name = "worst"
    implementation = f"{__name__}:worst"
    whole = True


def worst(outputs, targets, h):
    return np.abs(outputs - targets).max()
