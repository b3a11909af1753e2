"""Parts, which are classes that a spec chooses by name: families, optimisers, ….

Each stands under a base whose `tag` names the class attribute that holds the name, such
as `family = "mlp"`. A class is known once the code that defines it has been imported,
be that the package or an experiment file; nothing else has to list it. A package of its
own makes its parts known by entry points of the group `harness.parts`, each of which
names a module. What a part computes is written elsewhere: the class names that code as
"package.module:object", and it is imported when training starts.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterable
from typing import Any, ClassVar, TypeVar

from harness.errors import SpecError, UnknownTagError


class Named:
    """Base of what is chosen by name."""

    __slots__ = ()
    tag: ClassVar[str] = ""
    """The attribute that tells the subclasses of one base apart, if there are any."""
    kind: ClassVar[str] = ""
    """The noun for what stands under the base, such as "optimizer"."""
    known: ClassVar[dict[str, type[Any]]]
    """The subclasses by name; each class that declares a tag has its own."""
    implementation: ClassVar[str]
    """`package.module:object`, imported only when training starts."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "tag" in cls.__dict__:
            cls.known = {}
            cls.kind = cls.__dict__.get("kind", cls.tag)


N = TypeVar("N", bound=Named)
ENTRY_POINTS = "harness.parts"
"""Group of the entry points by which other packages offer parts."""


def register(cls: type[Named]) -> None:
    """Makes a class known by its name.

    Raises `SpecError` if it has no name of its own, or another class has the same: two
    classes of one name would give different runs the same ids.
    """
    name = cls.__dict__.get(cls.tag)
    if not isinstance(name, str):
        raise SpecError(f"class {cls.__name__} needs a line {cls.tag} = '…' of its own")
    holder = _origin(cls.known.get(name, cls))
    if holder != _origin(cls):
        raise SpecError(
            f"{cls.kind} {name!r} of {_origin(cls)} is taken by {holder}; choose "
            "another"
        )
    cls.known[name] = cls


def _origin(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def find(base: type[N], name: object) -> type[N]:
    """The class under `base` that has this name.

    Raises `UnknownTagError`, which says what names there are, if there is none.
    """
    if isinstance(name, str) and name not in base.known:
        _import_entry_points()
    cls = base.known.get(name) if isinstance(name, str) else None
    if cls is None or not issubclass(cls, base):
        known = [n for n, other in base.known.items() if issubclass(other, base)]
        raise UnknownTagError(
            f"no {base.kind} {name!r}{nearest(str(name), known)}; known are "
            f"{', '.join(sorted(known))}",
            kind=base.kind,
            name=str(name),
        )
    return cls


@functools.cache
def _import_entry_points() -> None:
    """Imports what other packages offer; a broken one is named and must be mended."""
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        try:
            point.load()
        # It runs code of others, which may raise anything.
        except Exception as error:
            raise SpecError(
                f"entry point {point.name!r} of {ENTRY_POINTS} ({point.value}) cannot "
                f"be imported: {error}"
            ) from error


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message that asks whether a similar name was meant."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def implementation(cls: type[Named]) -> Any:
    """The object that the class names as its implementation, imported.

    Raises `SpecError` if it cannot be imported.
    """
    return imported(cls, cls.implementation)


def imported(cls: type[Named], named: str) -> Any:
    """The object that an attribute of the class names as "package.module:object".

    Raises `SpecError` if it cannot be imported.
    """
    module, _, name = named.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SpecError(
            f"{label(cls)} names {named!r}, which cannot be imported: {error}"
        ) from error


def check_implementation(cls: type[Named]) -> None:
    """Raises `SpecError` if there is no module of the implementation's name.

    Nothing is imported: planning stays light.
    """
    module = cls.implementation.partition(":")[0]
    if module in sys.modules:
        return
    try:
        there = importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        there = False
    if not there:
        raise SpecError(
            f"{label(cls)} names {cls.implementation!r}, but there is no module "
            f"{module!r}"
        )


def label(cls: type[Named]) -> str:
    """What a part is called in messages: its kind and its name."""
    return f"{cls.kind} {getattr(cls, cls.tag)}"
