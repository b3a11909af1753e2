"""What a run is: frozen specs, their canonical JSON, and the id made from it.

A run is its spec. Two runs with equal specs are the same run wherever, whenever and
under whatever name they are trained; `run_id` is a hash of every field that can
change the numbers, and of nothing else.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import hashlib
import json
import math
import operator
import types
from collections.abc import Iterable, Mapping
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Literal,
    Self,
    TypeVar,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from harness.errors import SpecError

if TYPE_CHECKING:
    from harness.count import ForwardFlops, Params

SPEC_VERSION = 1
"""Raised when the meaning of a spec changes, so that no old id names a new run."""

C = TypeVar("C", bound="Spec")


def _suggest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def unknown_field(owner: str, name: str, known: Iterable[str]) -> SpecError:
    """The error for a field that does not exist, with the nearest one that does."""
    known = list(known)
    hint = _suggest(name, known) or f"; its fields are {', '.join(known)}"
    return SpecError(f"{owner} has no field {name!r}{hint}")


@dataclass_transform(
    frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field,)
)
def spec(cls: type[C]) -> type[C]:
    """Class decorator: a frozen, keyword-only, slotted dataclass that explains itself.

    A misspelt or missing field raises `SpecError`, not `TypeError`.
    """
    made = dataclasses.dataclass(frozen=True, kw_only=True, slots=True)(cls)
    names = [f.name for f in dataclasses.fields(made)]
    required = {
        f.name
        for f in dataclasses.fields(made)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    plain_init = made.__init__

    @functools.wraps(plain_init)
    def init(self: Spec, **values: Any) -> None:
        for name in values:
            if name not in names:
                raise unknown_field(made.__name__, name, names)
        if missing := sorted(required - values.keys()):
            raise SpecError(f"{made.__name__} needs {', '.join(missing)}")
        plain_init(self, **values)

    made.__init__ = init  # type: ignore
    return made


class Spec:
    """Base of all specs: checks types, then the subclass's own `validate`."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Any]]
    tag: ClassVar[str] = ""
    """The JSON key that tells the subclasses of one base apart, if there are any."""

    def __post_init__(self) -> None:
        # The exact types come first: a sweep of 10,000 runs checks a million fields.
        for name, hint, exact in _checks(type(self)):  # type: ignore[arg-type]
            value = getattr(self, name)
            if type(value) not in exact:
                coerced = _coerce(value, hint, f"{type(self).__name__}.{name}")
                object.__setattr__(self, name, coerced)
        self.validate()

    def validate(self) -> None:
        """Raise `SpecError` for a value that has the right type but makes no sense."""

    def to_dict(self) -> dict[str, Any]:
        """Every field, nested specs as dicts; `from_dict` reads it back."""
        return self._dict(identity_only=False)

    def identity(self) -> dict[str, Any]:
        """The fields that can change the numbers (paths and labels cannot)."""
        return self._dict(identity_only=True)

    def _dict(self, *, identity_only: bool) -> dict[str, Any]:
        out: dict[str, Any] = {self.tag: getattr(self, self.tag)} if self.tag else {}
        for name, f in self.__dataclass_fields__.items():
            if identity_only and not f.metadata.get("identity", True):
                continue
            value = getattr(self, name)
            nested = isinstance(value, Spec)
            out[name] = value._dict(identity_only=identity_only) if nested else value
        return out

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`. Raises `SpecError` for unknown fields and tags."""
        if not isinstance(values, Mapping):
            raise SpecError(f"{cls.__name__} needs a JSON object, not {values!r}")
        kind, left = cls, dict(values)
        if cls.tag:
            kind = _tagged(cls, left.pop(cls.tag, None))
        hints = _hints(kind)  # type: ignore[arg-type]
        for name, value in left.items():
            hint = hints.get(name)
            if isinstance(hint, type) and issubclass(hint, Spec):
                left[name] = hint.from_dict(value)
        return kind(**left)


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls)


@functools.cache
def _checks(cls: Any) -> list[tuple[str, Any, frozenset[Any]]]:
    """(field, its hint, exact types that need no further look) for each field."""
    safe: frozenset[Any] = frozenset({int, str, bool, type(None)})
    hints = _hints(cls)
    return [
        (name, hints[name], safe & frozenset(get_args(hints[name]) or (hints[name],)))
        for name in cls.__dataclass_fields__
    ]


def _tagged(base: type[C], value: Any) -> type[C]:
    known = {
        getattr(sub, base.tag): sub
        for sub in (base, *_subclasses(base))
        if hasattr(sub, base.tag)
    }
    if value not in known:
        hint = _suggest(str(value), known) or f"; known are {', '.join(sorted(known))}"
        raise SpecError(f"no {base.tag} {value!r}{hint}")
    return known[value]


def _subclasses(base: type[C]) -> list[Any]:
    # Making a dataclass slotted makes a second class; the finished one comes later and
    # wins where the list is turned into a dict.
    return [sub for sub in base.__subclasses__() if dataclasses.is_dataclass(sub)]


def _coerce(value: Any, hint: Any, where: str) -> Any:
    """`value` as `hint` says, exact conversions only (numpy integer to int, …)."""
    if isinstance(value, Spec) and isinstance(hint, type) and isinstance(value, hint):
        return value
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        (hint,) = (arg for arg in get_args(hint) if arg is not type(None))
        return _coerce(value, hint, where)
    if origin is Literal:
        if value not in get_args(hint):
            choices = ", ".join(map(str, get_args(hint)))
            raise SpecError(f"{where} is {value!r}; use one of {choices}")
        return value
    if hint is bool or (isinstance(hint, type) and issubclass(hint, Spec | str)):
        if not isinstance(value, hint):
            raise SpecError(f"{where} is {value!r}; it must be a {hint.__name__}")
        return value
    return _number(value, hint, where)


def _number(value: Any, kind: type, where: str) -> int | float:
    try:
        if isinstance(value, bool | str):
            raise TypeError
        number = operator.index(value) if kind is int else float(value)
    except TypeError:
        noun = "a whole number" if kind is int else "a number"
        raise SpecError(f"{where} is {value!r}; it must be {noun}") from None
    if not math.isfinite(number):
        raise SpecError(f"{where} is {value!r}; it must be finite")
    return number


def at_least(owner: Spec, low: float, *names: str) -> None:
    """Raise `SpecError` if one of the named fields is set and below `low`."""
    for name in names:
        value = getattr(owner, name)
        if value is not None and value < low:
            where = f"{type(owner).__name__}.{name}"
            raise SpecError(f"{where} is {value}; it must be at least {low}")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TaskShape:
    """What a data set shows to a model.

    `kind` "tokens": inputs are T = `length` token ids below `inputs`, and the model
    predicts the next token at each position. `kind` "vectors": one vector of `inputs`
    reals in, `outputs` reals out, `length` 1.
    """

    kind: Literal["tokens", "vectors"]
    length: int
    inputs: int
    outputs: int


@functools.cache
def _text_shape(context: int, vocab: int) -> TaskShape:
    return TaskShape(kind="tokens", length=context, inputs=vocab, outputs=vocab)


class ModelSpec(Spec):
    """Base of the families. A family says what it is, what it costs, who builds it."""

    __slots__ = ()
    tag = "family"
    family: ClassVar[str]
    implementation: ClassVar[str]
    """`package.module:Class` of the Flax module, imported only when training starts."""
    summary: ClassVar[str] = ""

    def check(self, task: TaskShape) -> None:
        """Raise `SpecError` if this model cannot be trained on `task`."""

    def params(self, task: TaskShape) -> Params:
        """Parameters by role, in closed form."""
        raise NotImplementedError

    def forward_flops(self, task: TaskShape) -> ForwardFlops:
        """FLOPs of one forward pass over one example, in closed form."""
        raise NotImplementedError


class DataSpec(Spec):
    """Base of the data sources."""

    __slots__ = ()
    tag = "source"
    source: ClassVar[str]

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


@spec
class Text(DataSpec):
    """Next-token prediction on windows of `context` tokens cut from text.

    `corpus` is "austen" (shipped: five novels to train on, *Persuasion* held out), or a
    path or glob of `.txt` files (read as bytes), `.npy` (uint8 or uint16) or `.bin`
    (raw uint16) token files. `held_out` is another such path; without it the last 5 %
    of the corpus, a contiguous piece, is held out. `unique_tokens` keeps only that many
    training tokens (a multiple of `context`; smaller subsets lie inside larger ones).
    `eval_sequences` windows, evenly spaced over the held-out text, are evaluated.
    """

    source = "text"
    corpus: str = dataclasses.field(default="austen", metadata={"identity": False})
    held_out: str | None = dataclasses.field(default=None, metadata={"identity": False})
    context: int = 128
    vocab: int = 256
    unique_tokens: int | None = None
    eval_sequences: int = 256
    digest: str | None = None

    def validate(self) -> None:
        at_least(self, 1, "context", "unique_tokens", "eval_sequences")
        at_least(self, 2, "vocab")
        if self.unique_tokens is not None and self.unique_tokens % self.context:
            nearest = max(1, round(self.unique_tokens / self.context)) * self.context
            raise SpecError(
                f"Text.unique_tokens {self.unique_tokens} is not a multiple of "
                f"context {self.context}; use {nearest}"
            )

    @property
    def shape(self) -> TaskShape:
        return _text_shape(self.context, self.vocab)

    @property
    def resolved(self) -> bool:
        return self.digest is not None and self.unique_tokens is not None

    @property
    def unique(self) -> int:
        if self.unique_tokens is None:
            raise SpecError("unique_tokens is not known before the corpus is read")
        return self.unique_tokens

    def program_key(self) -> tuple[object, ...]:
        # A subset is a choice of windows of the same token array.
        return (self.digest, self.eval_sequences)


@spec
class TeacherStudent(DataSpec):
    """Regression on the outputs of a fixed random tanh network (the teacher).

    Inputs are standard normal, targets have unit variance plus Gaussian `noise` (its
    standard deviation). The same `seed_data` draws the same teacher and the same
    examples in the same order, so smaller training sets lie inside larger ones.
    """

    source = "teacher_student"
    inputs: int = 16
    outputs: int = 1
    teacher_width: int = 64
    teacher_depth: int = 2
    noise: float = 0.0
    unique_examples: int = 65536
    eval_examples: int = 4096

    def validate(self) -> None:
        at_least(self, 1, "inputs", "outputs", "teacher_width", "teacher_depth")
        at_least(self, 1, "unique_examples")
        at_least(self, 2, "eval_examples")
        at_least(self, 0, "noise")

    @property
    def shape(self) -> TaskShape:
        return TaskShape(
            kind="vectors", length=1, inputs=self.inputs, outputs=self.outputs
        )

    @property
    def unique(self) -> int:
        return self.unique_examples


@spec
class OptimSpec(Spec):
    """Optimiser and schedule. Steps count optimiser updates.

    `schedule` "wsd": linear warm-up over `warmup` steps, constant, then a cooldown
    over the last `cooldown` fraction of the run along 1 − √x (Hägele et al. 2024,
    arXiv:2405.18392) down to `final` · lr. "cosine": warm-up, then half a cosine to
    `final` · lr. "constant": warm-up, then constant (never annealed).
    `weight_decay` is decoupled and acts on matrices only; `clip` is the global gradient
    norm, 0 for none.
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

    def validate(self) -> None:
        at_least(self, 0, "lr", "warmup", "weight_decay", "momentum", "clip", "final")
        if not 0 < self.cooldown <= 1:
            raise SpecError(f"OptimSpec.cooldown {self.cooldown} is not in (0, 1]")
        if self.eps <= 0:
            raise SpecError(f"OptimSpec.eps {self.eps} is not positive")
        for name in ("beta1", "beta2", "momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise SpecError(
                    f"OptimSpec.{name} {getattr(self, name)} is not in [0, 1)"
                )
        if self.optimizer == "adamw" and self.momentum:
            raise SpecError(
                f"momentum {self.momentum} has no effect with adamw; use optimizer sgd"
            )

    def decay_start(self, steps: int) -> int:
        """First step of the decay: there a run leaves the trunk that it shares."""
        match self.schedule:
            case "wsd":
                return steps - max(1, round(self.cooldown * steps))
            case "cosine":
                return min(self.warmup, steps)
            case _:
                return steps


@spec
class RunSpec(Spec):
    """One training run: `steps` updates on batches of `batch` examples."""

    model: ModelSpec
    data: DataSpec
    optim: OptimSpec
    batch: int
    steps: int = 1
    precision: Literal["float32", "bfloat16"] = "float32"
    evals_per_octave: int = 8
    seed_init: int = 0
    seed_order: int = 0
    seed_data: int = 0

    def validate(self) -> None:
        at_least(self, 1, "batch", "steps", "evals_per_octave")
        at_least(self, 0, "seed_init", "seed_order", "seed_data")
        self.model.check(self.data.shape)

    def check_schedule(self) -> None:
        """Raise `SpecError` if the warm-up does not fit (steps are known by now)."""
        if self.optim.warmup > (start := self.optim.decay_start(self.steps)):
            raise SpecError(
                f"warm-up of {self.optim.warmup} steps does not end before the decay "
                f"starts at step {start} of {self.steps}; lower optim.warmup"
            )

    @property
    def tokens_per_step(self) -> int:
        """Tokens (text) or examples (vectors) in one batch."""
        return self.batch * self.data.shape.length

    @property
    def tokens(self) -> int:
        """D: training tokens (text) or examples (vectors), repeats included."""
        return self.steps * self.tokens_per_step

    def with_tokens(self, tokens: float) -> RunSpec:
        """The run with the most whole steps that `tokens` pay for."""
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
        fields = {name: _identity_json(getattr(self, name)) for name in _RUN_FIELDS}
        run_id = _digest(_object(fields))
        fields["steps"] = "null"
        return run_id, _digest(_object(fields))

    def flat(self) -> dict[str, Any]:
        """Spec fields as table columns: `model.width`, `optim.lr`, `batch`, …"""
        out: dict[str, Any] = {}
        for name, value in self.to_dict().items():
            if isinstance(value, dict):
                out |= {f"{name}.{key}": inner for key, inner in value.items()}
            else:
                out[name] = value
        return out


_RUN_FIELDS = sorted(RunSpec.__dataclass_fields__)


@functools.lru_cache(maxsize=4096, typed=True)
def _identity_json(value: Any) -> str:
    """Canonical JSON of a field; a sweep repeats its models and data many times."""
    return canonical_json(value.identity() if isinstance(value, Spec) else value)


def _object(fields: Mapping[str, str]) -> str:
    return "{" + ",".join(f'"{k}":{v}' for k, v in fields.items()) + "}"


def canonical_json(value: Any) -> str:
    """JSON with one spelling per value: sorted keys, no spaces, shortest floats."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def hash_id(value: Any) -> str:
    """A 16-digit id of any JSON value, stamped with the spec version."""
    return _digest(canonical_json(value))


def _digest(text: str) -> str:
    stamped = f'{{"spec_version":{SPEC_VERSION},"value":{text}}}'
    return hashlib.sha256(stamped.encode()).hexdigest()[:16]
