"""The base of the learning rate schedules."""

from __future__ import annotations

from typing import ClassVar

from harness.specs.base import Spec, at_least, spec


@spec
class Schedule(Spec):
    """Base of the schedules: a schedule has the fields that it uses, and no other.

    Its `implementation` is a function of an array of steps (0, 1, …), the run's length
    and the schedule that returns the shares of the peak learning rate at those steps
    (numpy). Before `decay_start` a share must not depend on the length: there, runs
    that differ only in length train alike, and share that training. The warm-up, a
    straight line, is multiplied on top.

    Attributes:
        warmup: steps of warm-up; step s has (s + 1) / warmup of its rate.
    """

    tag = "name"
    kind = "schedule"
    name: ClassVar[str]
    warmup: int = 0

    def validate(self) -> None:
        at_least(self, 0, "warmup")

    def decay_start(self, steps: int) -> int:
        """First step of the decay in a run of so many steps; `steps` for no decay."""
        raise NotImplementedError

    @property
    def anneals(self) -> bool:
        """Whether the learning rate decays to an end."""
        return True
