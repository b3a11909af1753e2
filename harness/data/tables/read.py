"""Rows and sequences of numbers from `.npz` and parquet files."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from harness.data.dataset import (
    Dataset,
    Pair,
    held_out_rows,
    resolve_stored,
    row_dataset,
    rows,
)
from harness.data.files import (
    Array,
    Stamps,
    check_labels,
    class_labels,
    content_hash,
    read_npz,
    remedy,
    stamps,
)
from harness.data.order import Labels, split, subset
from harness.data.tables.spec import Table
from harness.errors import DataError


def resolve(spec: Table) -> Table:
    """`spec` with sizes and content hash. Raises `DataError` for anything wrong."""
    (_, y), (_, y_test) = read(spec)
    digest = _digest(_stamps(spec), spec.label)
    return resolve_stored(spec, _labels(spec, y), len(y), len(y_test), digest)


def load(spec: Table, seed_data: int) -> Dataset:
    """The data set of a resolved spec; `seed_data` draws the subset."""
    spec = resolve(spec)
    (x, y), test = read(spec)
    labels = _labels(spec, y)
    pool, validation = split(labels, len(y), spec.validation_examples)
    held_x, held_y = held_out_rows(spec, (x, y), test, validation)
    chosen = subset(seed_data, labels, pool, spec.unique)
    if spec.standardize:
        # By the pool, not the subset: runs on subsets then see the same inputs.
        mean, scale = _moments(x[pool])
        x, held_x = (x - mean) / scale, (held_x - mean) / scale
    return row_dataset(
        train={"x": x, "y": y},
        held_out={"x": held_x, "y": held_y},
        examples=len(chosen) if len(chosen) == len(y) else chosen,
        gather=rows,
    )


def _moments(x: Array) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The mean and the scale of each feature."""
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axis=axes, dtype=np.float64)
    scale = x.std(axis=axes, dtype=np.float64)
    # A constant feature stays 0 rather than becoming 0 / 0.
    scale = np.where(scale > 0, scale, 1)
    return mean.astype(np.float32), scale.astype(np.float32)


def _labels(spec: Table, y: Array) -> Labels | None:
    return y if spec.target == "class" else None


def read(spec: Table) -> tuple[Pair, Pair]:
    """Training and test examples, checked and converted. Raises `DataError`."""
    train, test = _read(_stamps(spec), spec.label)
    if test is None and spec.evaluate == "test":
        raise DataError(
            f"{spec.data} has no test examples; set evaluate='validation' and "
            "validation_examples"
        )
    if test is None:
        test = train[0][:0], train[1][:0]
    file = Path(spec.data)
    return _checked(spec, train, file), _checked(spec, test, Path(spec.test or file))


def _checked(spec: Table, pair: Pair, file: Path) -> Pair:
    x, y = pair
    shape = (spec.inputs,) if spec.length == 1 else (spec.length, spec.inputs)
    shape = (spec.length,) if spec.tokens else shape
    if x.shape[1:] != shape or len(x) != len(y):
        raise DataError(
            f"{file} has x of shape {x.shape} and {len(y):,} targets, but the spec "
            f"says (n, {', '.join(map(str, shape))}); set inputs and length"
        )
    return _inputs(spec, x, file), _targets(spec, y, file)


def _inputs(spec: Table, x: Array, file: Path) -> Array:
    if spec.tokens:
        if not np.issubdtype(x.dtype, np.integer):
            raise DataError(f"{file} has x of {x.dtype}; tokens are whole numbers")
        if x.size and not 0 <= x.min() <= x.max() < spec.inputs:
            raise DataError(
                f"{file} holds token {x.max()}, but ids lie in [0, {spec.inputs}); set "
                "inputs to the size of the vocabulary"
            )
        return x.astype(np.int32)
    if x.dtype.kind not in "fiub" or not np.isfinite(x).all():
        raise DataError(f"{file} has x that are not finite numbers; clean them first")
    return x.astype(np.float32)


def _targets(spec: Table, y: Array, file: Path) -> Array:
    if spec.target == "class":
        labels = class_labels(y, file, "y")
        hint = "set outputs to the number of classes"
        check_labels(labels, spec.outputs, file, hint)
        return labels
    real = y[:, None] if y.ndim == 1 else y
    if real.shape[1:] != (spec.outputs,) or real.dtype.kind not in "fiub":
        raise DataError(
            f"{file} has targets of {y.dtype}, shape {y.shape}, but outputs is "
            f"{spec.outputs}; set outputs to the number of target columns"
        )
    if not np.isfinite(real).all():
        raise DataError(f"{file} has targets that are not finite; clean them first")
    return real.astype(np.float32)


def _stamps(spec: Table) -> Stamps:
    files = [Path(name) for name in (spec.data, spec.test) if name is not None]
    for file in files:
        if not file.is_file() or file.suffix not in (".npz", ".parquet"):
            raise DataError(f"{file} is not an .npz or parquet file on this machine")
    return stamps(files)


@functools.lru_cache(maxsize=4)
def _read(stamps: Stamps, label: str | None) -> tuple[Pair, Pair | None]:
    first, *others = [Path(name) for name, _, _ in stamps]
    if first.suffix == ".parquet":
        train = _parquet(first, label)
        return train, _parquet(others[0], label) if others else None
    arrays = read_npz(first, ("x", "y"), ("x_test", "y_test"))
    test = (arrays["x_test"], arrays["y_test"]) if "x_test" in arrays else None
    if others:
        other = read_npz(others[0], ("x", "y"))
        test = other["x"], other["y"]
    return (arrays["x"], arrays["y"]), test


def _parquet(file: Path, label: str | None) -> Pair:
    """The columns `label` as targets, all others in their order as features."""
    if label is None:
        raise DataError(f"{file}: say which columns are the targets with label='…'")
    try:
        columns = {k: np.asarray(v) for k, v in pq.read_table(file).to_pydict().items()}
    except (pa.ArrowException, OSError, ValueError) as error:
        text = str(error).splitlines()[0]
        raise DataError(
            f"{file} is not a readable parquet file ({text}); {remedy(file)}"
        ) from None
    names = [name.strip() for name in label.split(",")]
    if missing := [name for name in names if name not in columns]:
        raise DataError(
            f"{file} has no column {missing[0]!r}; it has {', '.join(columns)}"
        )
    y = np.stack([columns.pop(name) for name in names], axis=1)
    if bad := [
        name for name, values in columns.items() if values.dtype.kind not in "fiub"
    ]:
        raise DataError(f"{file}: column {bad[0]!r} does not hold numbers; drop it")
    return np.stack(list(columns.values()), axis=1), y if len(names) > 1 else y[:, 0]


@functools.lru_cache(maxsize=8)
def _digest(stamps: Stamps, label: str | None) -> str:
    train, test = _read(stamps, label)
    return content_hash(*train, *(test or ()))
