"""States of many lanes as numpy arrays: some of them taken out, and put back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import jax
import numpy as np

from analysis.fitting.newton import Regression, State

NumpyState = State[np.ndarray]
"""The state of lanes outside of a compiled program."""


def taken(state: NumpyState, index: np.ndarray) -> NumpyState:
    """The state of some lanes."""
    return cast(NumpyState, jax.tree.map(lambda a: a[index], state))


def put_back(state: NumpyState, index: np.ndarray, new: NumpyState) -> NumpyState:
    """The state with that of some lanes replaced."""

    def put(old: np.ndarray, value: np.ndarray) -> np.ndarray:
        filled = old.copy()
        filled[index] = value
        return filled

    return cast(NumpyState, jax.tree.map(put, state, new))


def joined(states: Sequence[NumpyState]) -> NumpyState:
    """The states of several groups of lanes, one after another."""
    return cast(NumpyState, jax.tree.map(lambda *a: np.concatenate(a), *states))


def data_of(
    regression: Regression[np.ndarray], index: np.ndarray
) -> Regression[np.ndarray]:
    """The data of some lanes; what all lanes share stays shared."""
    return regression._replace(
        columns={
            k: v[index] if v.ndim == 2 else v for k, v in regression.columns.items()
        },
        y=regression.y[index] if regression.y.ndim == 2 else regression.y,
        weights=_lanes(regression.weights, index),
        low=regression.low[index],
        high=regression.high[index],
    )


def _lanes(a: np.ndarray, index: np.ndarray) -> np.ndarray:
    return (
        a[index] if a.shape[0] > 1 else np.broadcast_to(a, (len(index), *a.shape[1:]))
    )
