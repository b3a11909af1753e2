"""What a run is: frozen specs, and the id made from them.

A run is its spec. Two runs with equal specs are the same run wherever, whenever and
under whatever name they are trained. `run_id` is a hash of every field but paths and
labels; fields that would change nothing for the chosen options are refused.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from harness.errors import SpecError
from harness.specs.base import (
    Spec,
    added,
    at_least,
    canonical_json,
    digest,
    number,
    spec,
)

if TYPE_CHECKING:
    from harness.specs.count import ForwardFlops, Params

SEEDS = 2**32
"""Seeds lie below this: a larger one would repeat the random streams of a smaller."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TaskShape:
    """What a data set shows to a model.

    `kind` of the inputs, B examples at a time: "tokens" (B, T) ids below `inputs`;
    "vectors" (B, I) reals; "images" (B, height, width, channels) in [0, 1];
    "sequences" (B, T, I) reals. `target`: the "next_token" at each position (B, T), a
    "class" (B,), or (B, O) "real" numbers.
    """

    kind: Literal["tokens", "vectors", "images", "sequences"]
    length: int
    """T: tokens or time steps of an example; 1 for vectors and images."""
    inputs: int
    """Vocabulary, vector size, channels (images), features of a time step."""
    outputs: int
    """Classes, or real outputs."""
    target: Literal["next_token", "class", "real"] = "real"
    size: tuple[int, int] = (1, 1)
    """Height and width of an image."""


class ModelSpec(Spec):
    """Base of the families. A family says what it is, what it costs, who builds it."""

    __slots__ = ()
    tag = "family"
    family: ClassVar[str]
    implementation: ClassVar[str]
    """`package.module:Class` of the Flax module, imported only when training starts."""
    summary: ClassVar[str] = ""

    @property
    def stochastic(self) -> bool:
        """Whether training draws random numbers: the module then takes a `key` too."""
        return getattr(self, "dropout", 0.0) > 0

    @property
    def adam_only(self) -> bool:
        """Whether the parametrisation is derived for Adam's updates (muP here is)."""
        return getattr(self, "mup_base", 0) > 0

    def check(self, task: TaskShape) -> None:
        """Raise `SpecError` if this model cannot be trained on `task`."""

    def params(self, task: TaskShape) -> Params:
        """Parameters by role, in closed form."""
        raise NotImplementedError

    def forward_flops(self, task: TaskShape) -> ForwardFlops:
        """FLOPs of one forward pass over one example, in closed form."""
        raise NotImplementedError

    @classmethod
    def candidates(cls, **options: Any) -> Iterator[Self]:
        """Members of the family along its aspect rule, smallest first, for `ladder`."""
        raise SpecError(f"{cls.__name__} has no aspect rule; list its sizes")


class DataSpec(Spec):
    """Base of the data sources. A source says what it shows, and who reads it."""

    __slots__ = ()
    tag = "source"
    source: ClassVar[str]
    reader: ClassVar[str]
    """`package.module` that reads it, imported only when needed (`specs.reading`)."""

    @property
    def shape(self) -> TaskShape:
        """What the model sees of one example."""
        raise NotImplementedError

    @property
    def resolved(self) -> bool:
        """Whether sizes and content hash have been read from the data itself."""
        return True

    @property
    def unique(self) -> int:
        """Unique training tokens (text) or examples (vectors)."""
        raise NotImplementedError

    def program_key(self) -> tuple[object, ...]:
        """Equal for data whose arrays have equal shapes on the device."""
        return (self,)


IDLE: dict[str, tuple[str, ...]] = {
    "adamw": ("momentum",),
    "sgd": ("beta1", "beta2", "eps"),
    "wsd": (),
    "cosine": ("cooldown",),
    "constant": ("cooldown", "final"),
}
"""Fields of `OptimSpec` that do nothing under each choice of optimiser and schedule."""


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

    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = 1e-3
    schedule: Literal["wsd", "cosine", "constant"] = "wsd"
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
        self._refuse_idle(self.optimizer, IDLE[self.optimizer])
        self._refuse_idle(self.schedule, IDLE[self.schedule])

    def _refuse_idle(self, choice: str, names: tuple[str, ...]) -> None:
        # A field without effect would give one training two ids.
        for name in names:
            value = getattr(self, name)
            if value != self.__dataclass_fields__[name].default:
                raise SpecError(f"{name} {value} has no effect with {choice}")

    def program_key(self) -> tuple[object, ...]:
        """What of it fixes the operations of the compiled step; the rest is traced."""
        extras = (self.l1, self.l2, self.label_smoothing)
        return (self.optimizer, *[value > 0 for value in extras])

    def decay_start(self, steps: int) -> int:
        """First step of the decay: there a run leaves the trunk that it shares."""
        return DECAY_STARTS[self.schedule](self, steps)

    @property
    def anneals(self) -> bool:
        """Whether the learning rate decays to an end."""
        return ANNEALS[self.schedule]


DECAY_STARTS: dict[str, Callable[[OptimSpec, int], int]] = {
    "wsd": lambda optim, steps: steps - max(1, round(optim.cooldown * steps)),
    "cosine": lambda optim, steps: min(optim.warmup, steps),
    "constant": lambda optim, steps: steps,
}
"""First step of the decay in a run of so many steps, by schedule."""
ANNEALS = {"wsd": True, "cosine": True, "constant": False}
"""Whether the learning rate decays to an end, by schedule."""


@spec
class RunSpec(Spec):
    """One training run: `steps` updates on batches of `batch` examples.

    `steps` 0 means that no budget is set yet; a sweep sets one and refuses none.
    `patience` k stops a run early, at the k-th held-out evaluation in a row that does
    not improve on the best loss before; 0 never stops. Evaluations lie on a geometric
    grid of steps, so k of them span a fixed factor in steps: 2^(k / evals_per_octave).
    `train_eval_examples` k > 0 evaluates k training examples too (all, if there are
    fewer), evenly spaced and without augmentation: metrics of the split "train".
    """

    model: ModelSpec
    data: DataSpec
    optim: OptimSpec
    batch: int
    steps: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    evals_per_octave: int = 8
    seed_init: int = 0
    seed_order: int = 0
    seed_data: int = 0
    patience: int = added(default=0)
    train_eval_examples: int = added(default=0)

    def validate(self) -> None:
        at_least(self, 1, "batch", "evals_per_octave")
        at_least(self, 0, "steps", "patience", "train_eval_examples")
        at_least(self, 0, "seed_init", "seed_order", "seed_data")
        for name in ("seed_init", "seed_order", "seed_data"):
            if (seed := getattr(self, name)) >= SEEDS:
                raise SpecError(f"RunSpec.{name} is {seed}; seeds lie below 2^32")
        self.model.check(self.data.shape)
        self._check_company()

    def _check_company(self) -> None:
        if self.model.adam_only and self.optim.optimizer != "adamw":
            raise SpecError(
                f"mup_base scales Adam's updates; it needs optimizer 'adamw', not "
                f"{self.optim.optimizer!r}"
            )
        if self.optim.label_smoothing and self.data.shape.target == "real":
            raise SpecError("label_smoothing has no effect on real targets")

    def check_budget(self) -> None:
        """Raise `SpecError` if no budget is set, or the warm-up does not fit."""
        if not self.steps:
            raise SpecError("a run has no budget; give the sweep tokens or steps")
        if self.optim.warmup > (start := self.optim.decay_start(self.steps)):
            raise SpecError(
                f"warm-up of {self.optim.warmup} steps does not end before the decay "
                f"starts at step {start} of {self.steps}; lower optim.warmup"
            )

    @property
    def tokens_per_step(self) -> int:
        """Tokens (text) or examples (all other targets) in one batch."""
        shape = self.data.shape
        return self.batch * (shape.length if shape.target == "next_token" else 1)

    @property
    def tokens(self) -> int:
        """D: training tokens (text) or examples, repeats included."""
        return self.steps * self.tokens_per_step

    @property
    def train_evaluated(self) -> int:
        """Training examples (windows of text) that each evaluation looks at."""
        shape = self.data.shape
        length = shape.length if shape.target == "next_token" else 1
        return min(self.train_eval_examples, self.data.unique // length)

    def with_tokens(self, tokens: float) -> RunSpec:
        """The run with the most whole steps that `tokens` pay for."""
        tokens = number(tokens, float, "tokens")
        steps = math.floor(tokens / self.tokens_per_step)
        if steps < 1:
            raise SpecError(
                f"token budget {tokens:,.0f} is smaller than one batch of "
                f"{self.tokens_per_step:,} tokens; raise it or lower batch"
            )
        return dataclasses.replace(self, steps=steps)

    @property
    def run_id(self) -> str:
        """First 16 hex digits of sha256 over the canonical JSON of `identity()`."""
        return self.ids()[0]

    def ids(self) -> tuple[str, str]:
        """The run's id, and that of its trunk: equal for runs of different length."""
        if not self.data.resolved:
            raise SpecError("a run has no id before its data have been read")
        kept = sorted(self.identity_fields())
        fields = {name: _identity_json(getattr(self, name)) for name in kept}
        run_id = digest(_object(fields))
        if self.patience:
            # It may stop before the trunk of a longer run does: it is trained alone.
            return run_id, run_id
        fields["steps"] = "null"
        return run_id, digest(_object(fields))

    def flat(self) -> dict[str, Any]:
        """Spec fields as table columns: `model.width`, `optim.lr`, `batch`, …"""
        out: dict[str, Any] = {}
        for name, value in self.to_dict().items():
            if isinstance(value, dict):
                out |= {f"{name}.{key}": inner for key, inner in value.items()}
            else:
                out[name] = value
        return out


@functools.lru_cache(maxsize=4096, typed=True)
def _identity_json(value: Any) -> str:
    """Canonical JSON of a field; a sweep repeats its models and data many times."""
    return canonical_json(value.identity() if isinstance(value, Spec) else value)


def _object(fields: Mapping[str, str]) -> str:
    return "{" + ",".join(f'"{k}":{v}' for k, v in fields.items()) + "}"
