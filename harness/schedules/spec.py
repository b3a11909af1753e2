"""The schedules that ship: a warm-up, then the shares of the peak learning rate."""

from __future__ import annotations

from harness.errors import SpecError
from harness.specs.base import at_least, spec
from harness.specs.schedule import Schedule


@spec
class Constant(Schedule):
    """No decay: what a run of any length shares with longer ones is all of it."""

    name = "constant"
    implementation = "harness.schedules.rates:constant"

    def decay_start(self, steps: int) -> int:
        """No step decays."""
        return steps

    @property
    def anneals(self) -> bool:
        """Never."""
        return False


@spec
class WSD(Schedule):
    """Constant, then a cooldown along 1 − √x (Hägele et al. 2024, arXiv:2405.18392).

    Attributes:
        cooldown: share of the steps that are the decay, at least one step.
        final: share of the peak that the decay ends at.
    """

    name = "wsd"
    implementation = "harness.schedules.rates:square_root"
    cooldown: float = 0.2
    final: float = 0.0

    def validate(self) -> None:
        Schedule.validate(self)
        at_least(self, 0, "final")
        if not 0 < self.cooldown <= 1:
            raise SpecError(f"WSD.cooldown {self.cooldown} is not in (0, 1]")

    def decay_start(self, steps: int) -> int:
        """The last `cooldown` share of the steps is the decay."""
        return steps - max(1, round(self.cooldown * steps))


@spec
class Cosine(Schedule):
    """Half a cosine over all steps after the warm-up (Loshchilov & Hutter 2017).

    Attributes:
        final: share of the peak that the decay ends at.
    """

    name = "cosine"
    implementation = "harness.schedules.rates:half_cosine"
    final: float = 0.0

    def validate(self) -> None:
        Schedule.validate(self)
        at_least(self, 0, "final")

    def decay_start(self, steps: int) -> int:
        """The decay follows the warm-up."""
        return min(self.warmup, steps)


@spec
class Linear(Schedule):
    """A straight line over all steps after the warm-up (Defazio et al. 2023,
    arXiv:2310.07831).

    Attributes:
        final: share of the peak that the decay ends at.
    """

    name = "linear"
    implementation = "harness.schedules.rates:line"
    final: float = 0.0

    def validate(self) -> None:
        Schedule.validate(self)
        at_least(self, 0, "final")

    def decay_start(self, steps: int) -> int:
        """The decay follows the warm-up."""
        return min(self.warmup, steps)


@spec
class InverseSqrt(Schedule):
    """1 / √(s / timescale) from step s = `timescale` on (Vaswani et al. 2017), then a
    cooldown along a straight line to 0 (Zhai et al. 2022, arXiv:2106.04560).

    Attributes:
        timescale: step up to which the rate is the peak, such as that of the warm-up.
        cooldown: share of the steps that are the cooldown; 0 for none.
    """

    name = "inverse_sqrt"
    implementation = "harness.schedules.rates:inverse_square_root"
    timescale: int
    cooldown: float = 0.0

    def validate(self) -> None:
        Schedule.validate(self)
        at_least(self, 1, "timescale")
        if not 0 <= self.cooldown <= 1:
            raise SpecError(f"InverseSqrt.cooldown {self.cooldown} is not in [0, 1]")

    def decay_start(self, steps: int) -> int:
        """The cooldown: before it, the rate does not depend on the length."""
        return steps - (max(1, round(self.cooldown * steps)) if self.cooldown else 0)

    @property
    def anneals(self) -> bool:
        """Where there is a cooldown."""
        return self.cooldown > 0
