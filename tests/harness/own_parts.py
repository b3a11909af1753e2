"""Every kind of part, as a user would define them in one experiment file."""

import jax.numpy as jnp
import numpy as np
import optax

from harness import MLP, RunSpec, Sweep, product
from harness.data.dataset import row_dataset, rows
from harness.specs.base import spec
from harness.specs.loss import Loss, Metric
from harness.specs.optimizer import Optimizer
from harness.specs.run import DataSpec
from harness.specs.schedule import Schedule
from harness.specs.task import TaskShape


@spec
class Momentum(Optimizer):
    """Gradient descent with momentum, by optax."""

    name = "own_momentum"
    implementation = f"{__name__}:momentum"
    decay: float = 0.9


def momentum(h):
    return optax.sgd(h.lr, momentum=h.decay)


@spec
class Halving(Schedule):
    """Half the rate in the last quarter."""

    name = "own_halving"
    implementation = f"{__name__}:halving"

    def decay_start(self, steps):
        return steps - steps // 4


def halving(step, steps, schedule):
    return np.where(step < schedule.decay_start(steps), 1.0, 0.5)


@spec
class Waves(DataSpec):
    """Sines of two numbers."""

    source = "own_waves"
    reader = __name__
    examples: int = 128

    @property
    def shape(self):
        return TaskShape(kind="vectors", length=1, inputs=2, outputs=1)

    @property
    def unique(self):
        return self.examples


def load(spec, seed_data):
    x = np.random.default_rng(seed_data).normal(size=(spec.examples + 32, 2))
    y = np.sin(x.sum(axis=1, keepdims=True))
    arrays = {"x": x.astype("float32"), "y": y.astype("float32")}
    return row_dataset(
        train={name: array[:-32] for name, array in arrays.items()},
        held_out={name: array[-32:] for name, array in arrays.items()},
        examples=spec.examples,
        gather=rows,
    )


@spec
class Huber(Loss):
    """Squares near zero, absolute values beyond `delta`."""

    name = "own_huber"
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


BASE = RunSpec(
    model=MLP(width=8),
    data=Waves(),
    optimizer=Momentum(lr=0.1),
    schedule=Halving(),
    loss=Huber(),
    metrics=(Within(), Worst()),
    batch=16,
)
SWEEP = Sweep(product(BASE, {"loss.delta": [0.3, 1.0], "steps": [32, 64]}))
