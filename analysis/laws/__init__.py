"""Functional forms of loss against scale, each a small pure function with a reference.

`curves` holds the laws in one variable, `joint` those in parameters and tokens, `base`
what a law is and the registry, `allocation` the optimum of a law at a compute budget.
Importing this package registers the laws.
"""

from analysis.laws import curves, joint  # noqa: F401  (registers the laws)
from analysis.laws.base import (
    COLUMN_MEANING,
    Law,
    Parameter,
    all_laws,
    coefficient,
    exponent,
    fix,
    get_law,
    irreducible,
    linear,
    register,
    register_factory,
    scale_of,
)

__all__ = [
    "COLUMN_MEANING",
    "Law",
    "Parameter",
    "all_laws",
    "coefficient",
    "exponent",
    "fix",
    "get_law",
    "irreducible",
    "linear",
    "register",
    "register_factory",
    "scale_of",
]
