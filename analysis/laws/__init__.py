"""Functional forms of loss against scale, each a small pure function with a reference.

`curves` holds the laws in one variable, `joint` those in parameters and tokens,
`training`, `experts`, `compression` and `downstream` those with further columns, `base`
what a law is, `changes` laws with constants held or tied, `registry` all by their
names, `allocation` the best model by a law.
Importing this package registers the laws.
"""

from analysis.laws import (  # noqa: F401  (registers the laws)
    compression,
    curves,
    downstream,
    experts,
    joint,
    training,
)
from analysis.laws.base import (
    COLUMN_MEANING,
    Law,
    Parameter,
    coefficient,
    exponent,
    irreducible,
    linear,
    scale_of,
)
from analysis.laws.changes import fix
from analysis.laws.registry import all_laws, get_law, register, register_factory

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
