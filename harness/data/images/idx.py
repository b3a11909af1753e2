"""IDX files, the format of MNIST: a magic number, the sizes, then the values.

Bytes 0–1 of the magic are zero, byte 2 says the type (0x08: unsigned bytes, all that
image sets use), byte 3 how many dimensions follow as big-endian 32-bit integers.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.data.files import read_bytes, remedy
from harness.errors import DataError

UNSIGNED_BYTES = 0x08


def read_idx(file: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array in `file`. Raises `DataError` if it is another kind of file, or cut."""
    raw = read_bytes(file)
    expected = bytes([0, 0, UNSIGNED_BYTES, dimensions])
    if raw[:4] != expected:
        raise DataError(
            f"{file} starts with {raw[:4].hex()}, not {expected.hex()}: it is not an "
            f"IDX file of unsigned bytes in {dimensions} dimensions; {remedy(file)}"
        )
    start = 4 + 4 * dimensions
    shape = [int.from_bytes(raw[at : at + 4]) for at in range(4, start, 4)]
    if len(raw) - start != math.prod(shape):
        size = "×".join(map(str, shape))
        raise DataError(
            f"{file} is truncated or damaged: its header says {size} values and "
            f"{max(0, len(raw) - start):,} follow; {remedy(file)}"
        )
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)
