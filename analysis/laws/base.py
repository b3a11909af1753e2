"""A law is a plain JAX function with named, bounded parameters.

A law maps (parameters, columns) to a predicted loss. Everything else that a fit needs
(Jacobian, starts, bounds, intervals, optimum) is derived from it.

A law of one's own, in my_laws.py::

    import jax.numpy as jnp
    from analysis.laws import Law, linear

    log_law = Law(
        name="log_law",
        predict=lambda p, x: p["a"] - p["b"] * jnp.log(x["d"]),
        parameters=(linear("a"), linear("b")),
        columns=("d",),
        formula="L = a - b ln D",
        reference="mine",
    )

Commands take it as `--law my_laws.py:log_law`; in Python pass the `Law` itself, or
`register` it (`analysis.laws.registry`) to have it among the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, cast

import jax
import numpy as np

from analysis.errors import AnalysisError
from analysis.laws.arrays import Constants, FloatArray, Predict, Values
from analysis.laws.interpret import losses_of

Derived = Callable[[Constants], FloatArray]
Starts = dict[str, FloatArray]
StartRule = Callable[[Starts, Mapping[str, FloatArray], FloatArray], Starts]

COLUMN_MEANING = {
    "n": "parameters",
    "d": "training tokens or examples",
    "c": "training FLOPs",
    "x": "any one measure of scale",
    "u": "unique tokens",
}
"""The meaning of the columns of laws."""


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
        unit: a column whose geometric mean multiplies the start range ("x"), or
            divides it ("1/x"), for constants that scale with the table; "" for none.
        solved_linearly: the loss is linear in this constant, so its starting value
            follows from the other constants by non-negative least squares. This frees
            the starts from the units of the table.
    """

    name: str
    start: tuple[float, float] = (0.0, 1.0)
    lower: float = -math.inf
    upper: float = math.inf
    scale: Literal["linear", "log"] = "linear"
    unit: str = ""
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
        drawn = not self.solved_linearly and not self.unit
        if drawn and not (self.lower <= low <= high <= self.upper):
            raise AnalysisError(
                f"parameter {self.name}: start range ({low}, {high}) is not inside "
                f"the bounds ({self.lower}, {self.upper})"
            )

    @property
    def middle(self) -> float:
        """A value inside the start range, or 1 where there is none to speak of."""
        if self.solved_linearly or self.unit:
            return 1.0
        low, high = self.start
        return math.sqrt(low * high) if self.scale == "log" else (low + high) / 2

    def to_solver(self, value: float) -> float:
        """The solver's coordinate of a natural value: its logarithm or itself."""
        if self.scale == "linear":
            return value
        return math.log(value) if value > 0 else -math.inf


def coefficient(name: str) -> Parameter:
    """A positive factor of any magnitude (A and B of Chinchilla), solved in logs."""
    return Parameter(name=name, lower=0.0, scale="log", solved_linearly=True)


def irreducible(name: str = "E") -> Parameter:
    """A loss that no scale removes: linear, bounded below by zero (nats)."""
    return Parameter(name=name, lower=0.0, solved_linearly=True)


def scale_of(
    name: str, unit: str, start: tuple[float, float] = (1e-2, 1e2)
) -> Parameter:
    """A positive constant in the units of a column (or "1/column"), solved in logs.

    `start` is in multiples of that column's geometric mean.
    """
    return Parameter(name=name, start=start, lower=0.0, scale="log", unit=unit)


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
        refine_starts: `(starts, columns, loss) -> starts` replaces drawn starting
            values (arrays over starts) by better ones, e.g. from a linear regression;
            numpy arrays in and out.
        unknown: which constants what rows cannot tell; "" for nothing special.
    """

    name: str
    predict: Predict
    parameters: tuple[Parameter, ...]
    columns: tuple[str, ...]
    formula: str
    reference: str
    derived: tuple[tuple[str, Derived], ...] = ()
    refine_starts: StartRule | None = None
    unknown: str = ""

    def __post_init__(self) -> None:
        names = self.parameter_names
        if not names or len(set(names)) != len(names):
            raise AnalysisError(
                f"law {self.name}: parameter names {names} must be distinct and "
                "at least one"
            )

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """The names of the constants, in printing order."""
        return tuple(p.name for p in self.parameters)

    def losses(self, constants: Constants, columns: Constants) -> FloatArray:
        """The predicted losses (nats), computed in float64.

        Args:
            constants: name -> number, or array broadcast against the columns.
            columns: column of the law -> number or array.
        """
        if formula := losses_of(self.predict, self.parameter_names, self.columns):
            numbers = [constants[name] for name in self.parameter_names]
            numbers += [columns[name] for name in self.columns]
            with np.errstate(all="ignore"):
                return np.asarray(
                    formula(*(np.asarray(x, np.float64) for x in numbers))
                )
        with jax.enable_x64(True):  # numpy's arrays and numbers serve as JAX's
            p, x = cast(Values, constants), cast(Values, columns)
            return np.asarray(self.predict(p, x))
