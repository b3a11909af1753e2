"""A reproduction: its data, its recipe, and a check of each expected number."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.figure import Figure

from analysis.errors import AnalysisError

SHIPPED = Path(__file__).parent / "data"
VARIABLE = "SCALING_PUBLISHED"


class MissingDataError(AnalysisError):
    """Data that may not be shipped and that this machine does not have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One number that must come out again.

    Attributes:
        quantity: name of the number, with its unit.
        expected: the published value.
        obtained: the number that came out.
        tolerance: greatest relative difference (absolute where `expected` is 0).
        kind: "equal", or "at_most" where less is better.
    """

    quantity: str
    expected: float
    obtained: float
    tolerance: float
    kind: Literal["equal", "at_most"] = "equal"

    @property
    def passed(self) -> bool:
        """Whether the number came out within the tolerance."""
        room = self.tolerance * (abs(self.expected) or 1.0)
        if self.kind == "at_most":
            return bool(self.obtained <= self.expected + room)
        return bool(abs(self.obtained - self.expected) <= room)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The numbers and figures of a reproduction.

    Attributes:
        checks: the numbers.
        notes: sentences that a reader should know beyond them.
        figures: draws (file name, figure) of each; called only when asked for.
    """

    checks: tuple[Check, ...]
    notes: tuple[str, ...] = ()
    figures: Callable[[], Sequence[tuple[str, Figure]]] = tuple

    @property
    def passed(self) -> bool:
        """Whether every number came out."""
        return all(c.passed for c in self.checks)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reproduction:
    """A published result that the analysis brings out again.

    Attributes:
        name: for the command line.
        paper: authors, year, identifier.
        recipe: data and fit in one or two sentences.
        run: computes its outcome; raises `MissingDataError` when the data are not
            here.
    """

    name: str
    paper: str
    recipe: str
    run: Callable[[], Outcome]


_REPRODUCTIONS: dict[str, Reproduction] = {}


def reproduction(
    name: str, paper: str, recipe: str
) -> Callable[[Callable[[], Outcome]], Callable[[], Outcome]]:
    """Register the decorated function as a reproduction.

    Args:
        name: for the command line.
        paper: authors, year, identifier.
        recipe: data and fit in one or two sentences.
    """

    def add(run: Callable[[], Outcome]) -> Callable[[], Outcome]:
        _REPRODUCTIONS[name] = Reproduction(
            name=name, paper=paper, recipe=recipe, run=run
        )
        return run

    return add


def all_reproductions() -> tuple[Reproduction, ...]:
    """Every reproduction, in order of registration."""
    return tuple(_REPRODUCTIONS.values())


def get_reproduction(name: str) -> Reproduction:
    """The reproduction of that name.

    Raises:
        AnalysisError: there is none; the message lists the names.
    """
    if name not in _REPRODUCTIONS:
        raise AnalysisError(
            f"there is no reproduction {name!r}; there are: "
            f"{', '.join(_REPRODUCTIONS)}, or all"
        )
    return _REPRODUCTIONS[name]


def shipped(path: str) -> Path:
    """A data file that comes with the package."""
    return SHIPPED / path


def foreign(path: str) -> Path:
    """A data file whose licence does not allow shipping it.

    It is looked for in the folder $SCALING_PUBLISHED, then beside the repository.

    Raises:
        MissingDataError: it is in neither place.
    """
    named = os.environ.get(VARIABLE)
    beside = Path(__file__).parents[3] / "shared" / "published"
    for folder in ([Path(named)] if named else []) + [beside]:
        if (folder / path).is_file():
            return folder / path
    raise MissingDataError(
        f"{path} has no licence that allows shipping it; get it from its authors and "
        f"set {VARIABLE} to the folder that holds it"
    )


def equal(quantity: str, expected: float, obtained: float, tolerance: float) -> Check:
    """A check that two numbers agree to a relative tolerance.

    Args:
        quantity: its name, with the unit.
        expected: the published number.
        obtained: ours.
        tolerance: greatest relative difference.
    """
    return Check(
        quantity=quantity,
        expected=float(expected),
        obtained=float(obtained),
        tolerance=tolerance,
    )


def at_most(
    quantity: str, expected: float, obtained: float, tolerance: float = 0.0
) -> Check:
    """A check that a number is no greater than the published one.

    Args:
        quantity: its name, with the unit.
        expected: the published number.
        obtained: ours.
        tolerance: relative excess that still passes.
    """
    return Check(
        quantity=quantity,
        expected=float(expected),
        obtained=float(np.asarray(obtained)),
        tolerance=tolerance,
        kind="at_most",
    )
