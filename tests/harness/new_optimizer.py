"""An optimiser and a schedule as a user would add them to an experiment file."""

import optax

from harness.schedules.rates import progress
from harness.specs.base import spec
from harness.specs.optimizer import Optimizer
from harness.specs.schedule import Schedule


@spec
class SignMomentum(Optimizer):
    """Steps of one size along the signs of averaged gradients."""

    name = "sign_momentum"
    implementation = f"{__name__}:sign_momentum"
    beta: float = 0.9


def sign_momentum(h):
    return optax.chain(
        optax.ema(h.beta, debias=False),
        optax.scale_by_sign(),
        optax.scale_by_learning_rate(h.lr),
    )


@spec
class Straight(Schedule):
    """Constant, then a straight line down."""

    name = "straight"
    implementation = f"{__name__}:straight"
    cooldown: float = 0.2

    def decay_start(self, steps):
        return steps - max(1, round(self.cooldown * steps))


def straight(step, steps, schedule):
    return 1 - progress(step, steps, schedule)
