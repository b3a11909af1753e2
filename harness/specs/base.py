"""The base of specs, which check and write themselves: types, errors, dictionaries."""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
import types
from collections.abc import Iterable, Mapping
from typing import (
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
from harness.specs.canonical import JsonObject
from harness.specs.registry import Named, find, label, nearest, register
from harness.specs.source import code_digest

LARGEST = 2**63
"""Numbers lie below this, so that every count fits a column of a table."""

C = TypeVar("C", bound="Spec")
T = TypeVar("T")


def unknown_field(owner: str, name: str, known: Iterable[str]) -> SpecError:
    """The error for a field that does not exist, with the nearest one that does."""
    known = list(known)
    hint = nearest(name, known) or f"; its fields are {', '.join(known)}"
    return SpecError(f"{owner} has no field {name!r}{hint}")


def added(*, default: T) -> T:
    """A field added to a spec that already names finished runs.

    It is left out of the identity while it has its default. A default must mean what
    the harness did before the field existed, so those runs are still the same runs:
    with the field in their identity, every one of them would be trained again.
    """
    field: T = dataclasses.field(default=default, metadata={"added": True})
    return field


@dataclass_transform(
    frozen_default=True,
    kw_only_default=True,
    field_specifiers=(dataclasses.field, added),
)
def spec(cls: type[C]) -> type[C]:
    """Class decorator: a frozen, keyword-only, slotted dataclass that explains itself.

    A misspelt or missing field raises `SpecError`, not `TypeError`.
    """
    checked = dataclasses.dataclass(frozen=True, kw_only=True, slots=True)(cls)
    fields = dataclasses.fields(checked)
    names = [field.name for field in fields]
    # Without the class variables, which dataclasses keep there too.
    checked.__dataclass_fields__ = {field.name: field for field in fields}
    required = {field.name for field in fields if _has_no_default(field)}
    plain_init = checked.__init__

    @functools.wraps(plain_init)
    def init(self: Spec, **values: object) -> None:
        for name in values:
            if name not in names:
                raise unknown_field(checked.__name__, name, names)
        if missing := sorted(required - values.keys()):
            raise SpecError(f"{checked.__name__} needs {', '.join(missing)}")
        plain_init(self, **values)

    checked.__init__ = init  # type: ignore
    if checked.tag and "tag" not in cls.__dict__:
        register(checked)
    return checked


def _has_no_default(field: dataclasses.Field[object]) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


class Spec(Named):
    """Base of all specs: checks types, then the subclass's own `validate`.

    In the dictionary of a spec that is chosen by name, the key `tag` holds the name,
    and the key `code` the digest of its source, if that is not of this package.
    """

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[object]]]

    def __post_init__(self) -> None:
        # The exact types come first: a sweep of 10,000 runs checks a million fields.
        for name, hint, exact in _checks(type(self)):  # type: ignore[arg-type]
            value = getattr(self, name)
            if type(value) not in exact or (type(value) is int and value >= LARGEST):
                coerced = _coerce(value, hint, f"{type(self).__name__}.{name}")
                object.__setattr__(self, name, coerced)
        self.validate()

    def validate(self) -> None:
        """Raise `SpecError` for a value that has the right type but makes no sense."""

    def to_dict(self) -> JsonObject:
        """Every field, nested specs as dicts; `from_dict` reads it back."""
        return self._dict(identity_only=False)

    def identity(self) -> JsonObject:
        """The fields that can change the numbers (paths and labels cannot)."""
        return self._dict(identity_only=True)

    def identity_fields(self) -> list[str]:
        """Names of the fields that are part of the identity."""
        fields = self.__dataclass_fields__.items()
        return [n for n, f in fields if _in_identity(f, getattr(self, n))]

    def _dict(self, *, identity_only: bool) -> JsonObject:
        out: JsonObject = {self.tag: getattr(self, self.tag)} if self.tag else {}
        if self.tag and (code := code_digest(type(self))):
            out["code"] = code
        names = self.identity_fields() if identity_only else self.__dataclass_fields__
        for name in names:
            out[name] = _plain(getattr(self, name), identity_only)
        return out

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """Inverse of `to_dict`.

        Raises:
            SpecError: for unknown fields and tags, and where the source of a part is
                not that which the dictionary was written with.
        """
        if not isinstance(values, Mapping):
            raise SpecError(f"{cls.__name__} needs a JSON object, not {values!r}")
        fields: JsonObject = dict(values)
        subclass = find(cls, fields.pop(cls.tag, None)) if cls.tag else cls
        if cls.tag:
            _check_code(subclass, fields.pop("code", ""))
        hints = _hints(subclass)  # type: ignore[arg-type]
        for name, value in fields.items():
            fields[name] = _parsed(value, hints.get(name))
        return subclass(**fields)


def _plain(value: object, identity_only: bool) -> Any:
    """A field's value as a dictionary holds it."""
    if isinstance(value, Spec):
        return value._dict(identity_only=identity_only)
    if isinstance(value, tuple) and value and isinstance(value[0], Spec):
        return [_plain(item, identity_only) for item in value]
    return value


def _parsed(value: Any, hint: object) -> Any:
    """The inverse of `_plain` for a field of this type."""
    if isinstance(hint, type) and issubclass(hint, Spec):
        return hint.from_dict(value)
    if _is_tuple(hint) and isinstance(value, list | tuple):
        return [_parsed(item, get_args(hint)[0]) for item in value]
    return value


def _check_code(cls: type[Spec], code: object) -> None:
    if (present := code_digest(cls)) != code:
        raise SpecError(
            f"the code of {label(cls)} has changed since this sweep was written "
            f"(digest {code or 'none'}, now {present or 'none'}); "
            "run the experiment again to plan runs of the new code"
        )


def _in_identity(field: dataclasses.Field[object], value: object) -> bool:
    if field.metadata.get("added"):
        return bool(value != field.default)
    return bool(field.metadata.get("identity", True))


@functools.cache
def _hints(cls: type) -> dict[str, object]:
    return get_type_hints(cls)


@functools.cache
def _checks(cls: type[Spec]) -> list[tuple[str, object, frozenset[object]]]:
    """(field, its hint, exact types that need no further look) for each field."""
    safe: frozenset[object] = frozenset({int, str, bool, type(None)})
    hints = _hints(cls)  # type: ignore[arg-type]

    def exact(hint: object) -> frozenset[object]:
        # The arguments of a tuple are the types of its elements, not of the field.
        return safe & frozenset(() if _is_tuple(hint) else get_args(hint) or (hint,))

    return [
        (name, hints[name], exact(hints[name])) for name in cls.__dataclass_fields__
    ]


def _coerce(value: object, hint: object, where: str) -> object:
    """`value` as `hint` says, exact conversions only (numpy integer to int, …)."""
    if isinstance(value, Spec) and isinstance(hint, type) and isinstance(value, hint):
        return value
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        (hint,) = (arg for arg in get_args(hint) if arg is not type(None))
        return _coerce(value, hint, where)
    if _is_tuple(hint):
        if isinstance(value, str) or not isinstance(value, Iterable):
            noun = "specs" if _is_spec(get_args(hint)[0]) else "whole numbers"
            raise SpecError(f"{where} is {value!r}; it must be a list of {noun}")
        return tuple(_coerce(item, get_args(hint)[0], where) for item in value)
    if origin is Literal:
        if value not in get_args(hint):
            choices = ", ".join(map(str, get_args(hint)))
            raise SpecError(f"{where} is {value!r}; use one of {choices}")
        return value
    if isinstance(hint, type) and issubclass(hint, Spec | str | bool):
        if not isinstance(value, hint):
            raise SpecError(f"{where} is {value!r}; it must be of type {hint.__name__}")
        return value
    return number(value, int if hint is int else float, where)


def _is_spec(hint: object) -> bool:
    return isinstance(hint, type) and issubclass(hint, Spec)


def _is_tuple(hint: object) -> bool:
    """Whether `hint` is `tuple[X, ...]`, the one kind of list that a field can be."""
    return get_origin(hint) is tuple


def number(value: Any, kind: type, where: str) -> int | float:
    """`value` as a finite `kind` (int or float), converted only where that is exact.

    Raises `SpecError` that begins with `where`.
    """
    noun = "a whole number" if kind is int else "a number"
    try:
        if isinstance(value, bool | str):
            raise TypeError
        # Adding zero turns -0.0, which equals 0.0 but is written differently, into 0.0.
        exact = operator.index(value) if kind is int else float(value) + 0.0
        finite = kind is int or math.isfinite(exact)
    except (TypeError, ValueError, OverflowError):
        shown = repr(value)[:40]
        raise SpecError(f"{where} is {shown}; it must be {noun}") from None
    if not finite or abs(exact) >= LARGEST:
        raise SpecError(f"{where} is {repr(value)[:40]}; it must be finite, below 2^63")
    return exact


def at_least(owner: object, low: float, *names: str) -> None:
    """Raise `SpecError` if one of the named fields is set and below `low`."""
    for name in names:
        value = getattr(owner, name)
        if value is not None and value < low:
            where = f"{type(owner).__name__}.{name}"
            raise SpecError(f"{where} is {value}; it must be at least {low}")
