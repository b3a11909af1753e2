"""The optimisation of a run: the optimiser, the schedule, and their values."""

from __future__ import annotations

from typing import ClassVar

from harness.errors import SpecError
from harness.specs.base import Spec, added, at_least, spec
from harness.specs.registry import Named, find, register


class _Choice(Named):
    optional: ClassVar[tuple[str, ...]]
    """Fields of `OptimSpec` that only some classes under the base read."""
    reads: ClassVar[tuple[str, ...]] = ()
    """Those of them that this class reads; a spec that sets another is refused."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "tag" in cls.__dict__:
            return
        if unknown := set(cls.reads) - set(cls.optional):
            raise SpecError(
                f"{cls.__name__} reads {', '.join(sorted(unknown))}; an {cls.tag} can "
                f"read {', '.join(cls.optional)}"
            )
        register(cls)


class Optimizer(_Choice):
    """Base of the optimisers: one says what it reads, what it keeps, who computes it.

    Its `implementation` is a function of `harness.optimizers.update.Hyper`, whose
    fields are traced, and returns the optax transformation of clipped gradients into
    directions: weight decay and the learning rate come after it.
    """

    tag = "optimizer"
    optimizer: ClassVar[str]
    optional = ("beta1", "beta2", "eps", "momentum")
    moments: ClassVar[int]
    """Arrays of the parameters' size that it keeps from step to step."""
    normalised: ClassVar[bool] = False
    """Whether updates are about the learning rate in size, whatever the gradients."""


class Schedule(_Choice):
    """Base of the schedules: where one decays, whether to an end, who computes it.

    Its `implementation` is a function of an array of progress through the decay, from 0
    at its first step to 1 on the step after the last, and of the `OptimSpec`. It
    returns the shares of the peak learning rate there, and 1 at progress 0.
    """

    tag = "schedule"
    schedule: ClassVar[str]
    optional = ("cooldown", "final")
    anneals: ClassVar[bool]
    """Whether the learning rate decays to an end."""

    @classmethod
    def decay_start(cls, optim: OptimSpec, steps: int) -> int:
        """First step of the decay in a run of so many steps.

        Runs that differ only in length train alike up to there, and share it.
        """
        raise NotImplementedError


@spec
class OptimSpec(Spec):
    """Optimiser and schedule. Steps count optimiser updates.

    `schedule` "wsd": linear warm-up over `warmup` steps, constant, then a cooldown
    over the last `cooldown` fraction of the run along 1 − √x (Hägele et al. 2024,
    arXiv:2405.18392) down to `final` · lr. "cosine": warm-up, then half a cosine to
    `final` · lr. "constant": warm-up, then constant (never annealed).
    `weight_decay` is decoupled and acts on matrices only; `clip` is the global gradient
    norm, 0 for none. Training minimises loss + l1 · Σ|w| + l2 · Σw² over the weights w
    of all matrices; `label_smoothing` ε mixes the target distribution with ε of the
    uniform one (Szegedy et al. 2016). Recorded losses leave both penalties out, and
    held-out losses the smoothing.
    """

    optimizer: str = "adamw"
    lr: float = 1e-3
    schedule: str = "wsd"
    warmup: int = 0
    cooldown: float = 0.2
    final: float = 0.0
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    momentum: float = 0.0
    clip: float = 1.0
    l1: float = added(default=0.0)
    l2: float = added(default=0.0)
    label_smoothing: float = added(default=0.0)

    def validate(self) -> None:
        at_least(self, 0, "lr", "warmup", "weight_decay", "momentum", "clip", "final")
        at_least(self, 0, "l1", "l2")
        if not 0 < self.cooldown <= 1:
            raise SpecError(f"OptimSpec.cooldown {self.cooldown} is not in (0, 1]")
        if self.eps <= 0:
            raise SpecError(f"OptimSpec.eps {self.eps} is not positive")
        for name in ("beta1", "beta2", "momentum", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise SpecError(
                    f"OptimSpec.{name} {getattr(self, name)} is not in [0, 1)"
                )
        self._refuse_idle(self.optimizer, find(Optimizer, self.optimizer))
        self._refuse_idle(self.schedule, find(Schedule, self.schedule))

    def _refuse_idle(self, name: str, choice: type[_Choice]) -> None:
        # A field without effect would give one training two ids.
        for field in choice.optional:
            value = getattr(self, field)
            default = self.__dataclass_fields__[field].default
            if field not in choice.reads and value != default:
                raise SpecError(f"{field} {value} has no effect with {name}")

    def program_key(self) -> tuple[object, ...]:
        """The choices that fix the operations of a compiled step; values are traced."""
        extras = (self.l1, self.l2, self.label_smoothing)
        return (self.optimizer, *[value > 0 for value in extras])

    def decay_start(self, steps: int) -> int:
        """First step of the decay: there a run leaves the trunk that it shares."""
        return find(Schedule, self.schedule).decay_start(self, steps)

    @property
    def anneals(self) -> bool:
        """Whether the learning rate decays to an end."""
        return find(Schedule, self.schedule).anneals

    @property
    def state_copies(self) -> int:
        """Arrays of the parameters' size in training: weights, gradients, moments."""
        return 2 + find(Optimizer, self.optimizer).moments
