"""Laws with some constants held, bounded, tied to each other or free of their sign.

A changed law is called by what was changed, `chinchilla[E=1.6, beta=alpha]`, so that a
fit's record says it and a prediction finds it again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import cast

import numpy as np

from analysis.errors import AnalysisError
from analysis.laws.arrays import Array, FloatArray, Values
from analysis.laws.base import Derived, Law, Parameter, StartRule, Starts

ANY = "any"
"""What stands for a constant of either sign."""


def changed(law: Law, changes: Mapping[str, str]) -> Law:
    """The law with some constants changed, under a name that says so.

    Args:
        law: the law.
        changes: constant -> a number that it is held at, `low:high` (either may be left
            out) that bound it, another constant that it equals, or "any" for either
            sign.

    Raises:
        AnalysisError: no such constant, bounds that are none, or no constant is left.
    """
    result = law
    for name, change in changes.items():
        result = _one(law, result, name, change.strip())
    named = ", ".join(f"{k}={v.strip()}" for k, v in changes.items())
    return replace(result, name=f"{law.name}[{named}]")


def _one(law: Law, result: Law, name: str, change: str) -> Law:
    _known(law, name)
    if change in law.parameter_names:
        return tie(result, name, change)
    if change == ANY:
        return any_sign(result, name)
    low, colon, high = change.partition(":")
    if colon:
        return bound(
            result,
            name,
            _number(name, low, -math.inf),
            _number(name, high, math.inf),
        )
    return fix(result, **{name: _number(name, change, math.nan)})


def _known(law: Law, name: str) -> None:
    if name not in law.parameter_names:
        raise AnalysisError(
            f"{law.name} has no constant {name!r}; it has "
            f"{', '.join(law.parameter_names)}"
        )


def _number(name: str, text: str, empty: float) -> float:
    try:
        number = float(text) if text.strip() else empty
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise AnalysisError(
            f"{name}={text} is no change of a constant: give a number to hold it at, "
            "low:high to bound it, another constant that it equals, or any"
        )
    return number


def fix(law: Law, **values: float) -> Law:
    """The same law with some constants held at the given values.

    Raises:
        AnalysisError: a name is not a constant of the law, or none is left to fit.
    """
    for name in sorted(values):
        _known(law, name)

    def predict(p: Values, x: Values) -> Array:
        return law.predict({**p, **cast(Values, values)}, x)

    return replace(
        law,
        predict=predict,
        parameters=_left(law, set(values)),
        derived=tuple((k, _with(f, values)) for k, f in law.derived),
        refine_starts=_refined(law, lambda _: values),
    )


def tie(law: Law, name: str, other: str) -> Law:
    """The same law with one constant equal to another.

    Raises:
        AnalysisError: one of them is not a constant of the law, or both are the same.
    """
    for one in (name, other):
        _known(law, one)
    if name == other:
        raise AnalysisError(f"{name} cannot be tied to itself")

    def predict(p: Values, x: Values) -> Array:
        return law.predict({**p, name: p[other]}, x)

    return replace(
        law,
        predict=predict,
        parameters=_left(law, {name}),
        derived=tuple((k, _equal(f, name, other)) for k, f in law.derived),
        refine_starts=_refined(law, lambda starts: {name: starts[other]}),
    )


def bound(law: Law, name: str, low: float, high: float) -> Law:
    """The same law with one constant between two values, natural units.

    Raises:
        AnalysisError: no such constant, or no value lies between them.
    """
    _known(law, name)
    if not low < high:
        raise AnalysisError(f"{name} cannot lie between {low:g} and {high:g}")
    return _with_parameter(law, name, _bounded(_parameter(law, name), low, high))


def _bounded(p: Parameter, low: float, high: float) -> Parameter:
    if p.scale == "log":
        low = max(low, 0.0)
    first, last = (min(max(x, low), high) for x in p.start)
    if not p.solved_linearly and not p.unit and first == last:
        # The usual starts lie outside the bounds: start between these.
        first = low if math.isfinite(low) else last - 1
        last = high if math.isfinite(high) else first + 1
    return replace(p, lower=low, upper=high, start=(first, last))


def any_sign(law: Law, name: str) -> Law:
    """The same law with one constant that may be negative.

    Raises:
        AnalysisError: no such constant.
    """
    _known(law, name)
    p = _parameter(law, name)
    reach = max(map(abs, p.start)) if p.scale == "linear" else 1.0
    free = replace(
        p,
        scale="linear",
        lower=-p.upper,
        start=(-reach, reach),
        solved_linearly=False,
        unit="",
    )
    return _with_parameter(law, name, free)


def _parameter(law: Law, name: str) -> Parameter:
    return next(p for p in law.parameters if p.name == name)


def _with_parameter(law: Law, name: str, parameter: Parameter) -> Law:
    each = (parameter if p.name == name else p for p in law.parameters)
    return replace(law, parameters=tuple(each))


def _left(law: Law, without: set[str]) -> tuple[Parameter, ...]:
    left = tuple(p for p in law.parameters if p.name not in without)
    if not left:
        raise AnalysisError(f"{law.name} has no constant left to fit")
    return left


def _refined(
    law: Law, held: Callable[[Starts], Mapping[str, float | FloatArray]]
) -> StartRule | None:
    """The rule for starts of a law, given what its held constants are."""
    rule = law.refine_starts
    if rule is None:
        return None

    def refine(
        starts: Starts, columns: Mapping[str, FloatArray], y: FloatArray
    ) -> Starts:
        count = len(next(iter(starts.values())))
        values = {k: np.broadcast_to(v, count) for k, v in held(starts).items()}
        refined = rule(starts | values, columns, y)
        return {k: v for k, v in refined.items() if k not in values}

    return refine


def _with(function: Derived, values: Mapping[str, float]) -> Derived:
    return lambda p: function({**p, **values})


def _equal(function: Derived, name: str, other: str) -> Derived:
    return lambda p: function({**p, name: p[other]})
