"""What a law is: a plain JAX function with named, bounded parameters, and a registry.

A law maps (parameters, columns) to a predicted loss. Everything else that a fit needs
(Jacobian, starts, bounds, intervals, optimum) is derived from it.

A law of one's own::

    register(
        Law(
            name="log_law",
            predict=lambda p, x: p["a"] - p["b"] * jnp.log(x["d"]),
            parameters=(linear("a", lower=-jnp.inf), linear("b", lower=-jnp.inf)),
            columns=("d",),
            formula="L = a - b ln D",
            reference="mine",
        )
    )
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from analysis.errors import AnalysisError

Predict = Callable[[Mapping[str, Any], Mapping[str, Any]], Any]

COLUMN_MEANING = {
    "n": "parameters",
    "d": "training tokens or examples",
    "c": "training FLOPs",
    "x": "any one measure of scale",
    "u": "unique tokens",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """One constant of a law.

    Attributes:
        name: how the constant is called in the law, in tables and in JSON.
        start: range, in natural units, from which starting values are drawn. Not used
            when `solved_linearly`.
        lower, upper: bounds in natural units; a fit that ends on one is flagged.
        scale: "log" when the solver works on the logarithm of the value (coefficients
            that span orders of magnitude), "linear" otherwise.
        solved_linearly: the loss is linear in this constant, so its starting value
            follows from the other constants by non-negative least squares. This frees
            the starts from the units of the table.
    """

    name: str
    start: tuple[float, float] = (0.0, 1.0)
    lower: float = -math.inf
    upper: float = math.inf
    scale: Literal["linear", "log"] = "linear"
    solved_linearly: bool = False

    def __post_init__(self) -> None:
        low, high = self.start
        if not self.lower < self.upper:
            raise AnalysisError(
                f"parameter {self.name}: lower bound {self.lower} is not below "
                f"upper bound {self.upper}"
            )
        if self.scale == "log" and (self.lower < 0 or self.upper <= 0):
            raise AnalysisError(
                f"parameter {self.name}: scale 'log' needs bounds at or above 0, "
                f"got ({self.lower}, {self.upper})"
            )
        if not self.solved_linearly and not (self.lower <= low <= high <= self.upper):
            raise AnalysisError(
                f"parameter {self.name}: start range ({low}, {high}) is not inside "
                f"the bounds ({self.lower}, {self.upper})"
            )

    def to_solver(self, value: float) -> float:
        """Map a natural value to the solver's coordinate (its logarithm or itself)."""
        if self.scale == "linear":
            return value
        return math.log(value) if value > 0 else -math.inf


def coefficient(name: str) -> Parameter:
    """A positive factor of any magnitude (A and B of Chinchilla), solved in logs."""
    return Parameter(name=name, lower=0.0, scale="log", solved_linearly=True)


def irreducible(name: str = "E") -> Parameter:
    """A loss that no scale removes: linear, bounded below by zero (nats)."""
    return Parameter(name=name, lower=0.0, solved_linearly=True)


def exponent(
    name: str, start: tuple[float, float] = (0.05, 1.0), upper: float = 5.0
) -> Parameter:
    """A positive decay exponent, dimensionless."""
    return Parameter(name=name, start=start, lower=0.0, upper=upper)


def linear(
    name: str,
    start: tuple[float, float] = (-1.0, 1.0),
    *,
    lower: float = -math.inf,
    upper: float = math.inf,
) -> Parameter:
    """A constant that the solver works on as it is."""
    return Parameter(name=name, start=start, lower=lower, upper=upper)


@dataclass(frozen=True, kw_only=True, slots=True)
class Law:
    """A functional form of loss against scale.

    Attributes:
        name: the name under which it is registered and chosen on the command line.
        predict: `(parameters, columns) -> loss`, both mappings of name to JAX array;
            elementwise over rows, free of side effects, differentiable twice.
        parameters: the constants, in the order in which they are printed.
        columns: the columns it reads ("n", "d", "c", "x", …).
        formula: the form in plain text.
        reference: author, year and equation.
        derived: named scalars computed from the constants alone, e.g. a = β/(α+β).
    """

    name: str
    predict: Predict
    parameters: tuple[Parameter, ...]
    columns: tuple[str, ...]
    formula: str
    reference: str
    derived: tuple[tuple[str, Callable[[Mapping[str, Any]], Any]], ...] = field(
        default=()
    )

    def __post_init__(self) -> None:
        names = self.parameter_names
        if not names or len(set(names)) != len(names):
            raise AnalysisError(
                f"law {self.name}: parameter names {names} must be distinct and "
                "at least one"
            )

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the constants, in printing order."""
        return tuple(p.name for p in self.parameters)


_REGISTRY: dict[str, Law] = {}


def register(law: Law) -> Law:
    """Make a law available by name. Raises `AnalysisError` when the name is taken."""
    if law.name in _REGISTRY and _REGISTRY[law.name] is not law:
        raise AnalysisError(f"a law named {law.name!r} is already registered")
    _REGISTRY[law.name] = law
    return law


def get_law(name: str) -> Law:
    """Return the registered law. Raises `AnalysisError` naming the nearest name."""
    if name in _REGISTRY:
        return _REGISTRY[name]
    near = difflib.get_close_matches(name, _REGISTRY, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise AnalysisError(
        f"there is no law named {name!r}{hint} Known laws: {', '.join(_REGISTRY)}"
    )


def all_laws() -> tuple[Law, ...]:
    """All registered laws, in order of registration."""
    return tuple(_REGISTRY.values())
