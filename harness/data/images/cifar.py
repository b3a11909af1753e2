"""CIFAR-10 and CIFAR-100 batches, binary and Python (Krizhevsky 2009).

A binary record is the label (CIFAR-100: coarse, then fine label) and 3,072 pixels,
channel by channel. A Python batch is a pickled dict; the unpickler here makes arrays,
lists and strings, and refuses everything else.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.files import read_bytes, remedy
from harness.errors import DataError

PIXELS = 3 * 32 * 32
Labelled = tuple[NDArray[np.uint8], NDArray[np.int32]]

ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}
"""All that a pickled array of bytes needs."""


def read_binary(file: Path, label_bytes: int) -> Labelled:
    """Images (n, 32, 32, 3) and labels; the last of `label_bytes` is the class."""
    raw = np.frombuffer(read_bytes(file), np.uint8)
    record = label_bytes + PIXELS
    if not len(raw) or len(raw) % record:
        raise DataError(
            f"{file} is truncated: {len(raw):,} bytes are no whole number of records "
            f"of {record:,}; {remedy(file)}"
        )
    rows = raw.reshape(-1, record)
    return _images(rows[:, label_bytes:]), rows[:, label_bytes - 1].astype(np.int32)


def read_pickled(file: Path) -> Labelled:
    """Images (n, 32, 32, 3) and labels (fine ones where there are two kinds)."""
    batch = _unpickle(file)
    try:
        labels = batch.get(b"fine_labels", batch.get(b"labels"))
        pixels, found = batch[b"data"], np.asarray(labels, np.int32)
        good = pixels.dtype == np.uint8 and pixels.shape == (len(found), PIXELS)
    except (AttributeError, KeyError, TypeError, ValueError):
        good = False
    if not good:
        raise DataError(
            f"{file} is not a CIFAR batch: it needs data of n × {PIXELS} bytes and n "
            f"labels; {remedy(file)}"
        )
    return _images(pixels), found


def _images(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def _unpickle(file: Path) -> Any:
    try:
        return _Unpickler(io.BytesIO(read_bytes(file)), encoding="bytes").load()
    except DataError:
        raise
    # A damaged pickle can raise almost anything; each means the same to the user.
    except Exception as error:
        raise DataError(
            f"{file} is not a CIFAR batch ({error}); {remedy(file)}"
        ) from None
