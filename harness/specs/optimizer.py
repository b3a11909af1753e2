"""The base of the optimisers."""

from __future__ import annotations

from typing import ClassVar

from harness.errors import SpecError
from harness.specs.base import at_least, spec
from harness.specs.part import Part
from harness.specs.task import Params


@spec
class Optimizer(Part):
    """Base of the optimisers: an optimiser has the fields that it uses, and no other.

    Its `implementation` is a function of the hyperparameters `h` (an attribute for each
    field) that returns an optax transformation of gradients into updates, which are
    added to the weights. `h.lr` is the learning rate of the step, after warm-up and
    decay; `h.peak_lr` is the field's value. The initial state may depend on any of the
    traced hyperparameters but the learning rates.

    Where the weights to be judged are not those that are trained, as with averages,
    `evaluation` names a function of `h`, the state and the weights that returns them.

    Attributes:
        lr: peak learning rate.
        clip: the global norm that gradients are clipped to, 0 for none.
    """

    tag = "name"
    kind = "optimizer"
    name: ClassVar[str]
    evaluation: ClassVar[str] = ""
    normalised: ClassVar[bool] = False
    """Whether updates are about the learning rate in size, whatever the gradients."""
    lr: float
    clip: float = 1.0

    def validate(self) -> None:
        at_least(self, 0, "lr", "clip")

    def state_bytes(self, n: Params) -> int | None:
        """Bytes of the state between two steps, for a model of `n` parameters.

        None where role totals do not tell: then a state is made and measured.
        """
        return None

    def update_flops(self, n: Params) -> int | None:
        """FLOPs of the matrix products of one update; elementwise work counts 0.

        None where role totals do not tell: then they are counted in the update itself.
        """
        return None


def shares(optimizer: Optimizer, *names: str) -> None:
    """Raises `SpecError` if one of the named fields is not in [0, 1)."""
    for name in names:
        if not 0 <= (value := getattr(optimizer, name)) < 1:
            owner = type(optimizer).__name__
            raise SpecError(f"{owner}.{name} {value} is not in [0, 1)")


def positive(optimizer: Optimizer, *names: str) -> None:
    """Raises `SpecError` if one of the named fields is not positive."""
    for name in names:
        if not (value := getattr(optimizer, name)) > 0:
            owner = type(optimizer).__name__
            raise SpecError(f"{owner}.{name} {value} is not positive")
