"""What a sweep promises of its results: bounds on quantities that are measured later.

A promise is plain data that goes into the results folder with the question. `harness
check`, the page and FOUND.md measure it on the runs (`analysis.report.promises`), and
say whether it is kept.

    Promise("Loss falls as N^-1.", FittedConstant("power", "c", x="n_matmul"),
            contains=1)
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar, Literal, get_args

from harness.errors import SpecError

Pick = Literal["least", "mean", "greatest"]
Grid = Literal["budgets", "rates"]


@dataclasses.dataclass(frozen=True, slots=True)
class FittedConstant:
    """A constant of a law fitted to the runs, or a value derived from constants.

    Attributes:
        law: name of a law, see `harness laws`.
        name: of the constant, e.g. "alpha".
        x: column of a law in one variable; "" for the roles of a results folder.
        where: the runs, as an expression; "" for all.
        run: column that names the units of the bootstrap; "" for what suits the rows.
    """

    kind: ClassVar[str] = "constant"
    law: str
    name: str
    x: str = ""
    where: str = ""
    run: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class RmsResidual:
    """The root mean square residual of ln loss of a law fitted to the runs."""

    kind: ClassVar[str] = "residual"
    law: str = "chinchilla"
    where: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Minima:
    """How many minima lie inside their grid: along budgets, or along learning rates."""

    kind: ClassVar[str] = "minima"
    along: Grid

    def __post_init__(self) -> None:
        if self.along not in get_args(Grid):
            raise SpecError(f"along is {self.along!r}; use 'budgets' or 'rates'")


@dataclasses.dataclass(frozen=True, slots=True)
class RunValue:
    """A column, or an expression over columns, of finished runs: one value of many.

    Attributes:
        column: e.g. "accuracy", or "loss - best_loss".
        where: the runs, as an expression; "" for all.
        pick: which of their values.
    """

    kind: ClassVar[str] = "run value"
    column: str
    where: str = ""
    pick: Pick = "least"

    def __post_init__(self) -> None:
        if self.pick not in get_args(Pick):
            raise SpecError(f"pick is {self.pick!r}; use 'least', 'mean' or 'greatest'")


@dataclasses.dataclass(frozen=True, slots=True)
class FamilyExponents:
    """How many exponents of families have an interval: a power law for each scale."""

    kind: ClassVar[str] = "family exponents"


Quantity = FittedConstant | RmsResidual | Minima | RunValue | FamilyExponents


@dataclasses.dataclass(frozen=True, slots=True)
class Promise:
    """A sentence, the quantity that it is about, and the bounds that it must meet.

    Attributes:
        says: the sentence.
        quantity: what is measured.
        at_least, at_most: bounds of the value.
        contains: a number that the value's interval contains.
        near: a number that the value is near, and the share of it by which it may miss.
        widest: most that the upper end of the interval may be, as a multiple of the
            lower end: an interval that says nothing contains everything.
    """

    says: str
    quantity: Quantity
    _: dataclasses.KW_ONLY
    at_least: float | None = None
    at_most: float | None = None
    contains: float | None = None
    near: tuple[float, float] | None = None
    widest: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.quantity, Quantity):
            known = ", ".join(kind.__name__ for kind in get_args(Quantity))
            raise SpecError(f"a promise is about one of {known}, not {self.quantity!r}")
        if not self.bounds:
            raise SpecError(f"the promise {self.says!r} has no bound")
        for name, bound in self.bounds.items():
            numbers = bound if isinstance(bound, tuple) else (bound,)
            if not all(
                isinstance(x, int | float) and math.isfinite(x) for x in numbers
            ):
                raise SpecError(f"the promise {self.says!r}: {name} is {bound!r}")

    @property
    def bounds(self) -> dict[str, Any]:
        """The bounds that are given, by name."""
        names = ("at_least", "at_most", "contains", "near", "widest")
        return {n: v for n in names if (v := getattr(self, n)) is not None}

    def to_dict(self) -> dict[str, Any]:
        """The promise as JSON."""
        quantity = dataclasses.asdict(self.quantity)
        bounds = {k: list(v) if k == "near" else v for k, v in self.bounds.items()}
        return {
            "says": self.says,
            "quantity": {"kind": self.quantity.kind, **quantity},
            "bounds": bounds,
        }
