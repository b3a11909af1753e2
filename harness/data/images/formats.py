"""Files of images: IDX, the format of MNIST, and the batches of CIFAR."""

from __future__ import annotations

import io
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.files import read_bytes, remedy
from harness.errors import DataError

Labelled = tuple[NDArray[np.uint8], NDArray[np.int32]]
"""Images (n, height, width, channels) and labels (n,)."""

UNSIGNED_BYTES = 0x08
PIXELS = 3 * 32 * 32


def read_idx(file: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array in an IDX file: a magic number, the sizes, then the values.

    Bytes 0–1 of the magic are zero, byte 2 says the type (0x08: unsigned bytes, all
    that image sets use), byte 3 how many dimensions follow as big-endian 32-bit
    integers. Raises `DataError` if it is another kind of file, or cut.
    """
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


def read_cifar_binary(file: Path, label_bytes: int) -> Labelled:
    """The examples of a binary CIFAR batch (Krizhevsky 2009).

    A record is the label (CIFAR-100: coarse, then fine label), the last of
    `label_bytes`, and 3,072 pixels, channel by channel.
    """
    raw = np.frombuffer(read_bytes(file), np.uint8)
    record = label_bytes + PIXELS
    if not len(raw) or len(raw) % record:
        raise DataError(
            f"{file} is truncated: {len(raw):,} bytes are no whole number of records "
            f"of {record:,}; {remedy(file)}"
        )
    records = raw.reshape(-1, record)
    labels = records[:, label_bytes - 1].astype(np.int32)
    return _channels_last(records[:, label_bytes:]), labels


def read_cifar_pickled(file: Path) -> Labelled:
    """The examples of a Python CIFAR batch; fine labels where there are two kinds."""
    batch = _unpickle(file)
    try:
        labels = np.asarray(batch.get(b"fine_labels", batch.get(b"labels")), np.int32)
        pixels = batch[b"data"].values
        well_formed = pixels.shape == (len(labels), PIXELS)
    except (AttributeError, KeyError, TypeError, ValueError):
        well_formed = False
    if not well_formed:
        raise DataError(
            f"{file} is not a CIFAR batch: it needs data of n × {PIXELS} bytes and n "
            f"labels; {remedy(file)}"
        )
    return _channels_last(pixels), labels


def _channels_last(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


class _Dtype:
    """A stand-in for the type of a pickled array, which must be unsigned bytes."""

    def __init__(self, name: object, *_: object) -> None:
        if name not in ("u1", b"u1"):
            raise pickle.UnpicklingError(f"it holds an array of {name!r}")

    def __setstate__(self, state: object) -> None:
        """Takes byte order and alignment, which single bytes do not have."""


class _Bytes:
    """A stand-in for a pickled array, filled from its bytes and shape alone."""

    values: NDArray[np.uint8]

    def __setstate__(self, state: object) -> None:
        match state:
            case (
                int(),
                (int() as rows, int() as columns),
                _Dtype(),
                _,
                bytes() as raw,
            ):
                self.values = np.frombuffer(raw, np.uint8).reshape(rows, columns)
            case _:
                raise pickle.UnpicklingError("its array is not n rows of bytes")


def _reconstruct(*_: object) -> _Bytes:
    return _Bytes()


def _encode(text: object, *_: object) -> bytes:
    """The bytes that old protocols write as text."""
    if not isinstance(text, str):
        raise pickle.UnpicklingError("it encodes what is not text")
    return text.encode("latin1")


STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Bytes,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}
"""All that a pickled array of bytes names. The real ones must not be called: with a
state of its choice a pickle could make an array of objects out of plain bytes."""


class _Unpickler(pickle.Unpickler):
    """An unpickler of dictionaries, lists, strings and stand-ins for arrays."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return STAND_INS[module, name]


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
