"""The bases of losses and metrics, and the losses that ship."""

from __future__ import annotations

import math
import re
from typing import ClassVar

from harness.errors import SpecError
from harness.specs.base import spec
from harness.specs.part import Part
from harness.specs.task import TaskShape


@spec
class Loss(Part):
    """Base of the losses: what training minimises, and what runs are compared by.

    Its `implementation` is a function of a batch of outputs, their targets and `h` (an
    attribute for each field, and `h.task`) that returns the loss of each example (B,).
    `evaluation` names another such function where held-out losses differ.
    """

    tag = "name"
    kind = "loss"
    name: ClassVar[str]
    evaluation: ClassVar[str] = ""

    def check(self, task: TaskShape) -> None:
        """Raise `SpecError` if this loss cannot be had on `task`."""

    def uninformed(self, task: TaskShape) -> float:
        """The loss of the uniform guess; 0 where there is none."""
        return 0.0


@spec
class Likelihood(Loss):
    """Nats of the target under the softmax of the outputs, the mean over an example's
    tokens; for real targets, the mean squared error over the outputs."""

    name = "likelihood"
    implementation = "harness.training.losses:likelihood"

    def uninformed(self, task: TaskShape) -> float:
        """ln V for V classes."""
        return 0.0 if task.target == "real" else math.log(task.outputs)


@spec
class SmoothedLikelihood(Loss):
    """Nats, with targets of which a share is the uniform distribution (Szegedy et al.
    2016); held-out losses leave the smoothing out.

    Attributes:
        label_smoothing: the share, in [0, 1).
    """

    name = "smoothed_likelihood"
    implementation = "harness.training.losses:smoothed_likelihood"
    evaluation = "harness.training.losses:likelihood"
    label_smoothing: float

    def validate(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise SpecError(
                f"SmoothedLikelihood.label_smoothing {self.label_smoothing} is not in "
                "[0, 1)"
            )

    def check(self, task: TaskShape) -> None:
        """Real targets cannot be smoothed."""
        if task.target == "real":
            raise SpecError("label_smoothing has no effect on real targets")

    def uninformed(self, task: TaskShape) -> float:
        """ln V for V classes."""
        return math.log(task.outputs)


TAKEN = ("loss", "loss_se", "evaluated_loss")


@spec
class Metric(Part):
    """Base of the metrics: a number beside the loss at each evaluation, in a column of
    the metric's name.

    Its `implementation` is a function of a batch of outputs, their targets and `h` that
    returns a number of each example (B,), whose mean is the metric. With `whole` it is
    called once with those of all held-out examples (numpy, on the host) and returns one
    number; next tokens have too many outputs for that.
    """

    tag = "name"
    kind = "metric"
    name: ClassVar[str]
    whole: ClassVar[bool] = False

    def check(self, task: TaskShape) -> None:
        """Raise `SpecError` if this metric cannot be had on `task`."""
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name) or self.name in TAKEN:
            raise SpecError(
                f"metric {self.name!r}: choose a name of small letters, digits and _ "
                f"that is none of {', '.join(TAKEN)}"
            )
        if self.whole and task.target == "next_token":
            raise SpecError(
                f"metric {self.name} asks for all outputs at once, which next tokens "
                "have too many of; return a number for each example"
            )

    def program_key(self) -> tuple[object, ...]:
        """Evaluations take no traced values: metrics of other fields are others."""
        return (self,)
