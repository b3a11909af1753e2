"""Laws in one variable `x` (parameters, examples or FLOPs): the learning curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analysis.laws.base import Law, coefficient, exponent, irreducible, register


def _power(p: Mapping[str, Any], x: Mapping[str, Any]) -> Any:
    return p["b"] * x["x"] ** -p["c"]


def _power_constant(p: Mapping[str, Any], x: Mapping[str, Any]) -> Any:
    return p["E"] + p["b"] * x["x"] ** -p["c"]


POWER = register(
    Law(
        name="power",
        predict=_power,
        parameters=(coefficient("b"), exponent("c")),
        columns=("x",),
        formula="L = b x^-c",
        reference="Hestness et al. 2017; M1 of Alabdulmohsin et al. 2022",
    )
)

POWER_CONSTANT = register(
    Law(
        name="power_constant",
        predict=_power_constant,
        parameters=(irreducible("E"), coefficient("b"), exponent("c")),
        columns=("x",),
        formula="L = E + b x^-c",
        reference="Rosenfeld et al. 2019; M2 of Alabdulmohsin et al. 2022",
    )
)
