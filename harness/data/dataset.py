"""A data set as training sees it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.order import epoch_order

Arrays = dict[str, Any]
"""Named arrays (numpy, or the same on a device)."""

DEVICE_BYTES = 2**31
"""Larger training arrays stay in host memory; each chunk brings its own examples."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """Arrays, and the pure functions that find examples in them.

    `locate(example)` turns example indices into offsets; `gather(arrays, offsets)` is
    pure indexing that works on numpy and on traced JAX arrays alike and returns
    `(inputs, targets)`; `subset(arrays, example)` copies examples out of arrays too
    large for the device, as arrays and offsets that `gather` understands.
    """

    train: Arrays
    held_out: Arrays
    eval_offsets: NDArray[np.int64]
    examples: NDArray[np.int64] | int
    """The unique training examples: how many, or which ones if they are a subset."""
    locate: Callable[[NDArray[np.int64]], NDArray[np.int64]]
    gather: Callable[[Arrays, Any], tuple[Any, Any]]
    subset: Callable[[Arrays, NDArray[np.int64]], tuple[Arrays, NDArray[np.int64]]]
    augment: Callable[[Any, Any, Any], tuple[Any, Any]] | None = None
    """`augment(key, inputs, targets)` varies a training batch: pure JAX."""

    @property
    def fits_device(self) -> bool:
        """Whether the training arrays are small enough to live on the device."""
        return sum(array.nbytes for array in self.train.values()) <= DEVICE_BYTES

    def order(
        self, seed_order: int, batch: int, first: int, last: int
    ) -> NDArray[np.int64]:
        """Example indices of steps [first, last), shape (last - first, batch)."""
        positions = np.arange(first * batch, last * batch, dtype=np.int64)
        chosen = self.examples
        n = chosen if isinstance(chosen, int) else len(chosen)
        index = epoch_order(seed_order, n, positions)
        if not isinstance(chosen, int):
            index = chosen[index]
        return index.reshape(last - first, batch)

    def sample(self, count: int) -> tuple[Arrays, NDArray[np.int64]]:
        """`count` of the unique training examples, evenly spaced: arrays, offsets."""
        chosen = self.examples
        n = chosen if isinstance(chosen, int) else len(chosen)
        index = np.round(np.linspace(0, n - 1, count)).astype(np.int64)
        if not isinstance(chosen, int):
            index = chosen[index]
        return self.subset(self.train, index)


def row_dataset(
    *,
    train: Arrays,
    held_out: Arrays,
    examples: NDArray[np.int64] | int,
    gather: Callable[[Arrays, Any], tuple[Any, Any]],
    augment: Callable[[Any, Any, Any], tuple[Any, Any]] | None = None,
) -> Dataset:
    """A data set whose examples are rows; all that is held out is evaluated."""
    n_eval = len(next(iter(held_out.values())))
    return Dataset(
        train=train,
        held_out=held_out,
        eval_offsets=np.arange(n_eval, dtype=np.int64),
        examples=examples,
        locate=lambda index: index,
        gather=gather,
        subset=_copy_rows,
        augment=augment,
    )


def rows(arrays: Arrays, offsets: Any) -> tuple[Any, Any]:
    """Inputs and targets as stored, under the names x and y."""
    return arrays["x"][offsets], arrays["y"][offsets]


def _copy_rows(
    arrays: Arrays, index: NDArray[np.int64]
) -> tuple[Arrays, NDArray[np.int64]]:
    flat = index.reshape(-1)
    copied = {name: array[flat] for name, array in arrays.items()}
    return copied, np.arange(len(flat)).reshape(index.shape)
