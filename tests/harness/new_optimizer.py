"""An optimiser and a schedule as a user would add them to an experiment file."""

import numpy as np
import optax

from harness.specs.optim import Optimizer, Schedule


class SignMomentum(Optimizer):
    """Steps of one size along the signs of averaged gradients."""

    optimizer = "sign_momentum"
    implementation = f"{__name__}:sign_momentum"
    reads = ("beta1",)
    moments = 1


def sign_momentum(h):
    return optax.chain(optax.ema(h.beta1, debias=False), optax.scale_by_sign())


class Linear(Schedule):
    """Constant, then a straight line."""

    schedule = "linear"
    implementation = f"{__name__}:line"
    reads = ("cooldown", "final")
    anneals = True

    @classmethod
    def decay_start(cls, optim, steps):
        return steps - max(1, round(optim.cooldown * steps))


def line(progress, optim):
    return np.interp(progress, [0, 1], [1, optim.final])
