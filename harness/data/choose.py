"""Which examples: nested subsets, spread over the classes, and a validation split."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.data.order import epoch_order
from harness.errors import DataError

Index = NDArray[np.int64]
VALIDATION_SEED = 0
"""The validation examples are the same for every run, whatever its seeds."""


def ranking(seed: int, classes: NDArray[np.int32] | None, n: int) -> Index:
    """All of range(n) in the order in which subsets take them: any prefix is one.

    With `classes`, (n,) labels, a prefix holds as many of each class as it can.
    """
    if classes is None:
        return epoch_order(seed, n, np.arange(n, dtype=np.int64))
    rank = np.empty(n, np.int64)
    for label in np.unique(classes):
        members = np.flatnonzero(classes == label)
        k = len(members)
        rank[members[epoch_order(seed, k, np.arange(k, dtype=np.int64))]] = range(k)
    return np.lexsort((classes, rank))


def split(
    classes: NDArray[np.int32] | None, n: int, validation: int
) -> tuple[Index, Index]:
    """Training and validation examples, both sorted. Raises `DataError`."""
    if validation >= n:
        raise DataError(
            f"validation_examples {validation:,} leave nothing of {n:,} training "
            "examples; lower it"
        )
    order = ranking(VALIDATION_SEED, classes, n)
    return np.sort(order[validation:]), np.sort(order[:validation])


def subset(
    seed: int, classes: NDArray[np.int32] | None, pool: Index, unique: int
) -> Index:
    """`unique` of the examples in `pool`, sorted; smaller ones lie inside larger."""
    if unique == len(pool):
        return pool
    among = None if classes is None else classes[pool]
    return np.sort(pool[ranking(seed, among, len(pool))[:unique]])


def evenly(n: int, wanted: int, what: str) -> Index:
    """`wanted` of n evaluation examples, evenly spaced. Raises `DataError`."""
    if wanted > n:
        raise DataError(
            f"eval_examples {wanted:,} were asked for but {what} has {n:,} examples "
            "to evaluate"
        )
    return np.round(np.linspace(0, n - 1, wanted)).astype(np.int64)


def enough(unique: int | None, available: int, what: str) -> int:
    """How many unique examples: all, or those asked for. Raises `DataError`."""
    if unique is not None and unique > available:
        raise DataError(
            f"unique_examples {unique:,} were asked for but {what} has {available:,} "
            "training examples"
        )
    return available if unique is None else unique
