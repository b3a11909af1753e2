"""Frozen specs that say what a run is, and the id made from them.

A run is its spec. Two runs with equal specs are the same run wherever, whenever and
under whatever name they are trained. `run_id` is a hash of every field but paths and
labels; fields that would change nothing for the chosen options are refused.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, Self

from harness.errors import SpecError
from harness.specs.base import Spec, added, at_least, number, spec
from harness.specs.canonical import JsonObject, canonical_json, digest
from harness.specs.loss import Likelihood, Loss, Metric
from harness.specs.optimizer import Optimizer
from harness.specs.registry import Named
from harness.specs.schedule import Schedule
from harness.specs.task import ForwardFlops, Params, TaskShape

SEEDS = 2**32
"""Seeds lie below this: a larger one would repeat the random streams of a smaller."""


class ModelSpec(Spec):
    """Base of the families. A family says what it is, what it costs, who builds it."""

    __slots__ = ()
    tag = "family"
    kind = "family"
    family: ClassVar[str]
    """Its `implementation` is a Flax module's class."""
    summary: ClassVar[str] = ""

    @property
    def stochastic(self) -> bool:
        """Whether training draws random numbers: the module then takes a `key` too."""
        return getattr(self, "dropout", 0.0) > 0

    @property
    def normalised_only(self) -> bool:
        """Whether the parametrisation is derived for normalised updates, as muP is."""
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
    kind = "data source"
    source: ClassVar[str]
    reader: ClassVar[str]
    """`package.module` that reads it, imported only when needed (`specs.reading`)."""

    @property
    def shape(self) -> TaskShape:
        """The shape of one example, as the model sees it."""
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


@spec
class RunSpec(Spec):
    """One training run: `steps` updates on batches of `batch` examples.

    `steps` 0 means that no budget is set yet; a sweep sets one and refuses none.
    `patience` k stops a run early, at the k-th held-out evaluation in a row that does
    not improve on the best loss before; 0 never stops. Evaluations lie on a geometric
    grid of steps, so k of them span a fixed factor in steps: 2^(k / evals_per_octave).
    `train_eval_examples` k > 0 evaluates k training examples too (all, if there are
    fewer), evenly spaced and without augmentation: metrics of the split "train".

    `start_from` is the id of a run whose kept weights this one begins with, in place
    of fresh ones; its optimiser begins anew.

    Training minimises loss + l1 · Σ|w| + l2 · Σw² over the weights w of all matrices;
    recorded losses leave both penalties out.
    """

    model: ModelSpec
    data: DataSpec
    optimizer: Optimizer
    schedule: Schedule
    batch: int
    steps: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    evals_per_octave: int = 8
    seed_init: int = 0
    seed_order: int = 0
    seed_data: int = 0
    patience: int = added(default=0)
    train_eval_examples: int = added(default=0)
    start_from: str = added(default="")
    loss: Loss = added(default=Likelihood())
    metrics: tuple[Metric, ...] = added(default=())
    l1: float = added(default=0.0)
    l2: float = added(default=0.0)

    def validate(self) -> None:
        at_least(self, 1, "batch", "evals_per_octave")
        at_least(self, 0, "steps", "patience", "train_eval_examples")
        at_least(self, 0, "seed_init", "seed_order", "seed_data", "l1", "l2")
        for name in ("seed_init", "seed_order", "seed_data"):
            if (seed := getattr(self, name)) >= SEEDS:
                raise SpecError(f"RunSpec.{name} is {seed}; seeds lie below 2^32")
        if self.start_from and not re.fullmatch(r"[0-9a-f]{16}", self.start_from):
            raise SpecError(
                f"RunSpec.start_from is {self.start_from!r}; give the id of a run, 16 "
                "hex digits"
            )
        task = self.data.shape
        self.model.check(task)
        self.loss.check(task)
        for metric in self.metrics:
            metric.check(task)
        self._check_together()

    def _check_together(self) -> None:
        if self.model.normalised_only and not self.optimizer.normalised:
            known = Optimizer.known.items()
            names = [repr(name) for name, other in known if other.normalised]
            raise SpecError(
                "mup_base scales normalised updates, as Adam's are; it needs optimizer "
                f"{' or '.join(names)}, not {self.optimizer.name!r}"
            )
        names = [metric.name for metric in self.metrics]
        if twice := {name for name in names if names.count(name) > 1}:
            raise SpecError(f"metrics: {', '.join(sorted(twice))} stands there twice")

    def check_budget(self) -> None:
        """Raise `SpecError` if no budget is set, or the warm-up does not fit."""
        if not self.steps:
            raise SpecError("a run has no budget; give the sweep tokens or steps")
        if self.schedule.warmup > self.decay_start:
            raise SpecError(
                f"warm-up of {self.schedule.warmup} steps does not end before the "
                f"decay starts at step {self.decay_start} of {self.steps}; lower "
                "schedule.warmup"
            )

    @property
    def decay_start(self) -> int:
        """First step of the decay: there the run leaves the trunk that it shares."""
        return self.schedule.decay_start(self.steps)

    def parts(self) -> tuple[Spec, ...]:
        """The parts that it is made of, its data first."""
        trained = (self.model, self.optimizer, self.schedule, self.loss)
        return (self.data, *trained, *self.metrics)

    def choices(self) -> tuple[type[Named], ...]:
        """The classes of its parts, but of its data, which name their code."""
        return tuple(type(part) for part in self.parts()[1:])

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
        names = sorted(self.identity_fields())
        fields = {name: _identity_json(getattr(self, name)) for name in names}
        run_id = digest(_object(fields))
        if self.patience:
            # It may stop before the trunk of a longer run does: it is trained alone.
            return run_id, run_id
        fields["steps"] = "null"
        return run_id, digest(_object(fields))

    def flat(self) -> JsonObject:
        """Spec fields as table columns: `model.width`, `optimizer.lr`, `batch`, …"""
        return flat(self.to_dict())


def flat(spec: Mapping[str, Any]) -> JsonObject:
    """The dictionary of a spec as table columns; parts in a list by their names."""
    out: JsonObject = {}
    for name, value in spec.items():
        if isinstance(value, dict):
            out |= {f"{name}.{key}": inner for key, inner in value.items()}
        elif name == "metrics":
            for metric in value:
                inner = {key: v for key, v in metric.items() if key != "name"}
                out |= {f"{name}.{metric['name']}.{key}": v for key, v in inner.items()}
        else:
            out[name] = value
    return out


@functools.lru_cache(maxsize=4096, typed=True)
def _identity_json(value: object) -> str:
    """Canonical JSON of a field; a sweep repeats its models and data many times."""
    if isinstance(value, tuple):
        return "[" + ",".join(map(_identity_json, value)) + "]"
    return canonical_json(value.identity() if isinstance(value, Spec) else value)


def _object(fields: Mapping[str, str]) -> str:
    return "{" + ",".join(f'"{k}":{v}' for k, v in fields.items()) + "}"
