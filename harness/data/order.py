"""The choice and the order of examples, computed without state.

The order is a keyed permutation of each epoch. A Feistel network permutes the integers
below a power of four; walking along its cycles until the value is in range makes a
permutation of [0, n) (Black & Rogaway 2002, "Ciphers with arbitrary finite domains").
Its integer arithmetic is fixed here, so an order never changes with the version of a
library. Subsets are prefixes of such a permutation, so smaller ones lie inside larger.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.errors import DataError

Index = NDArray[np.int64]
"""Numbers of examples."""
Labels = NDArray[np.int32]

ROUNDS = 6
U64 = np.uint64
VALIDATION_SEED = 0
"""The validation examples are the same for every run, whatever its seeds."""


def epoch_order(seed: int, n: int, positions: Index) -> Index:
    """The example at each global position; position p lies in epoch p // n.

    Each epoch visits every index in [0, n) once, in an order of its own.
    """
    epochs, within = np.divmod(positions.astype(np.int64), n)
    if n == 1:
        return np.zeros_like(within)
    half = U64(max(1, (int(n - 1).bit_length() + 1) // 2))
    keys = _mix(_mix(U64(seed)) + epochs.astype(U64))
    value = _feistel(within.astype(U64), keys, half)
    while np.any(outside := value >= U64(n)):
        value[outside] = _feistel(value[outside], keys[outside], half)
    return value.astype(np.int64)


def _feistel(
    value: NDArray[np.uint64], keys: NDArray[np.uint64], half: np.uint64
) -> NDArray[np.uint64]:
    mask = (U64(1) << half) - U64(1)
    left, right = value >> half, value & mask
    for step in range(ROUNDS):
        scrambled = _mix(right + keys + U64(step << 32)) & mask
        left, right = right, left ^ scrambled
    return (left << half) | right


def _mix(value: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele, Lea & Flood 2014): 64 bits to 64 bits."""
    with np.errstate(over="ignore"):
        value = np.asarray(value, U64) + U64(0x9E3779B97F4A7C15)
        value = (value ^ (value >> U64(30))) * U64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> U64(27))) * U64(0x94D049BB133111EB)
        return value ^ (value >> U64(31))


def ranking(seed: int, labels: Labels | None, n: int) -> Index:
    """All of range(n) in the order in which subsets take them: any prefix is one.

    With `labels` (n,), a prefix holds as many of each class as it can.
    """
    if labels is None:
        return epoch_order(seed, n, np.arange(n, dtype=np.int64))
    rank = np.empty(n, np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        k = len(members)
        rank[members[epoch_order(seed, k, np.arange(k, dtype=np.int64))]] = range(k)
    return np.lexsort((labels, rank))


def split(labels: Labels | None, n: int, validation: int) -> tuple[Index, Index]:
    """Training and validation examples, both sorted. Raises `DataError`."""
    if validation >= n:
        raise DataError(
            f"validation_examples {validation:,} leave nothing of {n:,} training "
            "examples; lower it"
        )
    order = ranking(VALIDATION_SEED, labels, n)
    return np.sort(order[validation:]), np.sort(order[:validation])


def subset(seed: int, labels: Labels | None, pool: Index, unique: int) -> Index:
    """`unique` of the examples in `pool`, sorted; smaller ones lie inside larger."""
    if unique == len(pool):
        return pool
    pool_labels = None if labels is None else labels[pool]
    return np.sort(pool[ranking(seed, pool_labels, len(pool))[:unique]])


def evenly(n: int, count: int) -> Index:
    """`count` examples of n, evenly spaced from the first to the last."""
    return np.round(np.linspace(0, n - 1, count)).astype(np.int64)


def enough(
    field: str, wanted: int | None, available: int, owner: str, unit: str
) -> int:
    """The number of examples to use: those that `field` asks for, or all.

    Raises `DataError` if more are asked for than the `available` ones, each a `unit`,
    that `owner` has.
    """
    if wanted is not None and wanted > available:
        raise DataError(
            f"{field} {wanted:,} were asked for but {owner} has {available:,} {unit}"
        )
    return available if wanted is None else wanted
