"""The code of a user's parts, and how worker processes come by it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from harness.errors import SpecError
from harness.specs.base import Spec
from harness.specs.registry import label
from harness.specs.source import code_digest
from harness.sweeps.plan import Plan

EXPERIMENTS = "experiments."
"""Modules that experiment files are loaded as."""


class _Loading:
    """Whether a file is being loaded for the parts that it defines."""

    active = False


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """A block that loads a file for its parts: no sweep may be run from there."""
    before, _Loading.active = _Loading.active, True
    try:
        yield
    finally:
        _Loading.active = before


def refuse_while_loading() -> None:
    """Raises `SpecError` in a file that is loaded for the parts that it defines."""
    if _Loading.active:
        raise SpecError(
            "the file runs its sweep when a worker loads it for its parts; put "
            "harness.run(…) under if __name__ == '__main__':"
        )


def arguments(plan: Plan) -> list[str]:
    """The arguments by which workers load the parts of the user's own.

    Raises `SpecError` for a part that is in no file, such as one of a notebook's.
    """
    found: dict[str, list[str]] = {}
    for cls in own_parts(plan):
        module = cls.__module__
        file = getattr(sys.modules.get(module), "__file__", None)
        if file is None:
            raise SpecError(
                f"{label(cls)} is defined at a prompt or in a notebook, where worker "
                "processes cannot find it; define it in a .py file and import it, or "
                "give workers=0"
            )
        if module == "__main__" or module.startswith(EXPERIMENTS):
            found[module] = ["--experiment", str(Path(file).absolute())]
        else:
            found[module] = ["--import", module]
    return [argument for pair in found.values() for argument in pair]


def own_parts(plan: Plan) -> list[type[Spec]]:
    """The classes of parts that are defined outside the package."""
    kinds = {type(part) for run in plan.runs for part in run.run.parts()}
    own = [kind for kind in kinds if code_digest(kind)]
    return sorted(own, key=lambda kind: kind.__qualname__)
