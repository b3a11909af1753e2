"""The laws by their names: those of the package, changed ones, and those in files."""

from __future__ import annotations

import difflib
import re
import runpy
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from analysis.errors import AnalysisError
from analysis.laws.base import Law
from analysis.laws.changes import changed
from analysis.laws.grouped import grouped, parse

_GROUPED = re.compile(r"(?P<law>.+)\{(?P<groups>[^{}]*)\}")
_CHANGED = re.compile(r"(?P<law>.+?)\[(?P<changes>[^\[\]]*)\]")

_REGISTRY: dict[str, Law] = {}
_FACTORIES: dict[str, Callable[[tuple[str, ...]], Law]] = {}


def register(law: Law) -> Law:
    """The law, from now on available by its name, which no other may have."""
    if law.name in _REGISTRY and _REGISTRY[law.name] is not law:
        raise AnalysisError(f"a law named {law.name!r} is already registered")
    _REGISTRY[law.name] = law
    return law


def register_factory(name: str, make: Callable[[tuple[str, ...]], Law]) -> None:
    """Let `get_law("name:column,column")` call `make(("column", "column"))`."""
    _FACTORIES[name] = make


def get_law(name: str) -> Law:
    """The law of a registered name, "additive:n,d,…" or "file.py:name".

    With changes in brackets, `chinchilla[E=1.6, alpha=0.2:0.5]`, it is that of
    `changed`; with groups in braces, `power{a|b; share c}`, that of `grouped`.

    Raises:
        AnalysisError: there is none, naming the nearest; or as `law_in_file` and
            `changed`.
    """
    if match := _GROUPED.fullmatch(name):
        return _grouped(get_law(match["law"]), match["groups"])
    if match := _CHANGED.fullmatch(name):
        return _changed(get_law(match["law"]), match["changes"])
    if name in _REGISTRY:
        return _REGISTRY[name]
    head, colon, tail = name.partition(":")
    if head.endswith(".py"):
        return law_in_file(name)
    if colon and head in _FACTORIES:
        return _FACTORIES[head](tuple(x.strip() for x in tail.split(",")))
    near = difflib.get_close_matches(name, _REGISTRY, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise AnalysisError(
        f"there is no law named {name!r}{hint} Known laws: {', '.join(_REGISTRY)}"
    )


@lru_cache(maxsize=64)
def _grouped(law: Law, groups: str) -> Law:
    return grouped(law, *parse(groups))


@lru_cache(maxsize=64)
def _changed(law: Law, changes: str) -> Law:
    """One object for one change, so that what is traced of it is kept."""
    pairs = [text.partition("=") for text in changes.split(",") if text.strip()]
    for name, equals, _ in pairs:
        if not equals:
            raise AnalysisError(
                f"{name.strip()!r} is no change of a constant: write NAME=VALUE"
            )
    return changed(law, {name.strip(): value for name, _, value in pairs})


def law_in_file(reference: str) -> Law:
    """The law that a file of the user's, which is run, binds to a name.

    Args:
        reference: "path/to/file.py:name". The law is called so from then on, also in
            fit records, so that `predict` finds it again from the same folder.

    Raises:
        AnalysisError: no such file, an error in it, or no law of that name.
    """
    path = Path(reference.rpartition(":")[0])
    if not path.is_file():
        raise AnalysisError(f"there is no file {path} to take the law {reference} from")
    return _run_file(reference, path.stat().st_mtime_ns)


@lru_cache(maxsize=32)
def _run_file(reference: str, _changed: int) -> Law:
    """The law of this version of the file: compiled programs are kept by the law."""
    path, _, name = reference.rpartition(":")
    try:
        names = runpy.run_path(path)
    except Exception as error:  # a user's file may raise anything
        raise AnalysisError(f"{path}: {type(error).__name__}: {error}") from None
    law = names.get(name)
    if not isinstance(law, Law):
        known = sorted(k for k, v in names.items() if isinstance(v, Law))
        raise AnalysisError(
            f"{path} binds no law to the name {name!r}; "
            f"laws in it: {', '.join(known) or 'none'}"
        )
    return replace(law, name=reference)


def all_laws() -> tuple[Law, ...]:
    """All registered laws, in order of registration."""
    return tuple(_REGISTRY.values())
