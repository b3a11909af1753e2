"""The order of examples: a keyed permutation of each epoch, computed without state.

A Feistel network permutes the integers below a power of four; walking along its cycles
until the value is in range makes a permutation of [0, n) (Black & Rogaway 2002,
"Ciphers with arbitrary finite domains"). Its integer arithmetic is fixed here, so an
order never changes with the version of a library.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ROUNDS = 6
U64 = np.uint64


def epoch_order(seed: int, n: int, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Example index at each global position; position p lies in epoch p // n.

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
