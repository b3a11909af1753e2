"""The names of array types, one home for all of analysis."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import numpy as np
from numpy.typing import NDArray

Array = jax.Array
"""An array inside a JAX program: a law's constants, columns and losses."""
FloatArray = NDArray[np.float64]
"""A numpy array of float64: what goes into a fit and what comes out."""
Number = float | FloatArray
"""A constant, or one for each of many tables or replicas."""
Values = Mapping[str, Array]
"""Constants or columns by name, inside a JAX program."""
Constants = Mapping[str, Number]
"""Constants by name, outside of one."""
Predict = Callable[[Values, Values], Array]
"""`(constants, columns) -> losses`, as a law has it."""
