"""A data set as training sees it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from harness.data.files import Array, check_unchanged
from harness.data.order import Index, Labels, enough, epoch_order, evenly, split
from harness.data.stored import Stored
from harness.specs.reading import reader_of
from harness.specs.run import DataSpec

S = TypeVar("S", bound=Stored)

Arrays = Mapping[str, Array]
"""Named arrays."""

Pair = tuple[Array, Array]
"""Inputs and targets."""

Gather = Callable[[Mapping[str, Any], Any], tuple[Any, Any]]
"""`gather(arrays, offsets)`: inputs and targets, of numpy or of traced JAX arrays."""

Augment = Callable[[Any, Any, Any], tuple[Any, Any]]
"""`augment(key, inputs, targets)`: a varied training batch, pure JAX."""

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
    eval_offsets: Index
    examples: Index | int
    """The unique training examples: how many, or which ones if they are a subset."""
    locate: Callable[[Index], Index]
    gather: Gather
    subset: Callable[[Arrays, Index], tuple[Arrays, Index]]
    augment: Augment | None = None

    @property
    def fits_device(self) -> bool:
        """Whether the training arrays are small enough to live on the device."""
        return sum(int(a.nbytes) for a in self.train.values()) <= DEVICE_BYTES

    def order(self, seed_order: int, batch: int, first: int, last: int) -> Index:
        """Example indices of steps [first, last), shape (last - first, batch)."""
        positions = np.arange(first * batch, last * batch, dtype=np.int64)
        ranks = epoch_order(seed_order, self._unique, positions)
        return self._example(ranks).reshape(last - first, batch)

    def sample(self, count: int) -> tuple[Arrays, Index]:
        """`count` of the unique training examples, evenly spaced: arrays, offsets."""
        return self.subset(self.train, self._example(evenly(self._unique, count)))

    @property
    def _unique(self) -> int:
        return self.examples if isinstance(self.examples, int) else len(self.examples)

    def _example(self, rank: Index) -> Index:
        """The examples with these ranks among the unique ones."""
        return rank if isinstance(self.examples, int) else self.examples[rank]


def load(spec: DataSpec, seed_data: int) -> Dataset:
    """The data set of a resolved spec; `seed_data` draws its random parts."""
    dataset: Dataset = reader_of(spec).load(spec, seed_data)
    return dataset


def resolve_stored(
    spec: S, labels: Labels | None, n_train: int, n_test: int, digest: str
) -> S:
    """`spec` with its content hash and numbers of examples.

    Raises `DataError` if the hash is another, or more examples are asked for than the
    `n_train` and `n_test` that there are.
    """
    check_unchanged(spec.data, spec.digest, digest)
    pool, validation = split(labels, n_train, spec.validation_examples)
    available = len(validation) if spec.evaluate == "validation" else n_test
    owner = f"{spec.data} ({spec.evaluate})"
    evaluated, unique = spec.eval_examples, spec.unique_examples
    return dataclasses.replace(
        spec,
        eval_examples=enough(
            "eval_examples", evaluated, available, owner, "examples to evaluate"
        ),
        unique_examples=enough(
            "unique_examples", unique, len(pool), spec.data, "training examples"
        ),
        digest=digest,
    )


def held_out_rows(spec: Stored, train: Pair, test: Pair, validation: Index) -> Pair:
    """The inputs and targets that a resolved spec evaluates, evenly spaced."""
    assert spec.eval_examples is not None
    x, y = test
    if spec.evaluate == "validation":
        x, y = train[0][validation], train[1][validation]
    evaluated = evenly(len(y), spec.eval_examples)
    return x[evaluated], y[evaluated]


def row_dataset(
    *,
    train: Arrays,
    held_out: Arrays,
    examples: Index | int,
    gather: Gather,
    augment: Augment | None = None,
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


def rows(arrays: Arrays, offsets: Array) -> Pair:
    """Inputs and targets as stored, under the names x and y."""
    return arrays["x"][offsets], arrays["y"][offsets]


def _copy_rows(arrays: Arrays, index: Index) -> tuple[Arrays, Index]:
    flat = index.reshape(-1)
    copied = {name: array[flat] for name, array in arrays.items()}
    return copied, np.arange(len(flat)).reshape(index.shape)
