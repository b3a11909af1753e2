"""Arrays of one's own: checked, kept under their hash, read back by memory map."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.arrays.check import (
    Split,
    kind_of,
    named,
    pair_of,
    sizes,
    split_off,
    stored,
    target_of,
)
from harness.data.arrays.spec import Arrays, Target
from harness.data.dataset import Dataset, row_dataset, rows
from harness.data.files import Array, cache_folder, content_hash, write_whole
from harness.data.order import subset
from harness.errors import DataError

NAMES = ("x", "y", "held_out_x", "held_out_y")
"""Files of a set of arrays; those of targets are missing for next tokens."""


def folder_of(digest: str) -> Path:
    """The folder in the cache where arrays of this hash are kept."""
    return cache_folder() / "arrays" / digest


def keep(
    x: Any,
    y: Any,
    *,
    held_out: float | tuple[Any, Any],
    target: Target | None,
    context: int | None,
    vocab: int | None,
    classes: int | None,
    label: str,
    unique_examples: int | None,
) -> Arrays:
    """The spec of arrays, once they are checked and in the cache (see `Arrays.of`)."""
    target = target or target_of(y)
    train = pair_of(x, y, context, target, "x", "y")
    kind = kind_of(train[0], target, vocab)
    if isinstance(held_out, tuple):
        held = pair_of(*held_out, context, target, "held-out x", "held-out y")
        split = Split(
            named(stored(train, kind, target)), named(stored(held, kind, target))
        )
    else:
        split = split_off(stored(train, kind, target), held_out, target)
    spec = Arrays(
        label=label,
        digest=_digest(split),
        input_kind=kind,
        target=target,
        examples=len(split.train["x"]),
        held_out=len(split.held_out["x"]),
        unique_examples=unique_examples,
        **sizes(split, kind, target, vocab, classes),
    )
    _write(split, folder_of(spec.digest))
    return spec


def load(spec: Arrays, seed_data: int) -> Dataset:
    """The data set of a spec; `seed_data` draws the subset. Raises `DataError`."""
    split = read(spec)
    labels = split.train["y"] if spec.target == "class" else None
    n = spec.examples
    chosen = subset(seed_data, labels, np.arange(n), spec.unique_examples or n)
    return row_dataset(
        train=split.train,
        held_out=split.held_out,
        examples=n if len(chosen) == n else chosen,
        gather=_next_tokens if spec.target == "next_token" else rows,
    )


def check_files(spec: Arrays) -> None:
    """Raises `DataError` if the arrays are not on this machine, or damaged."""
    if _digest(read(spec)) != spec.digest:
        raise DataError(
            f"{folder_of(spec.digest)} does not hold the arrays of {spec.label}: their "
            "hash is another; remove it and make the spec again"
        )


def read(spec: Arrays) -> Split:
    """The arrays of a spec, mapped from their files. Raises `DataError`."""
    folder = folder_of(spec.digest)
    if not folder.is_dir():
        raise DataError(
            f"the arrays {spec.label!r} ({spec.digest}) are not on this machine: "
            f"neither in {folder} nor in data/ of the results folder; run the "
            "experiment here, or on the machine that has them"
        )
    arrays = {name: _mapped(folder / f"{name}.npy") for name in _names(spec)}
    train = {k: v for k, v in arrays.items() if not k.startswith("held")}
    held = {k[-1]: v for k, v in arrays.items() if k.startswith("held")}
    return Split(train, held)


def files_of(spec: Arrays) -> list[Path]:
    """The files of a spec's arrays in the cache."""
    return [folder_of(spec.digest) / f"{name}.npy" for name in _names(spec)]


def _names(spec: Arrays) -> list[str]:
    return [n for n in NAMES if not (n[-1] == "y" and spec.target == "next_token")]


def _mapped(file: Path) -> Array:
    try:
        mapped: Array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{file} is missing or damaged ({error}); remove its folder and make the "
            "spec again"
        ) from None
    return mapped


def _next_tokens(arrays: Mapping[str, Any], offsets: Any) -> tuple[Any, Any]:
    window = arrays["x"][offsets]
    return window[..., :-1], window[..., 1:]


def _digest(split: Split) -> str:
    train, held = split
    return content_hash(*(a[k] for a in (train, held) for k in ("x", "y") if k in a))


def _write(split: Split, folder: Path) -> None:
    for prefix, arrays in (("", split.train), ("held_out_", split.held_out)):
        for name, array in arrays.items():
            file = folder / f"{prefix}{name}.npy"
            if not file.exists():
                write_whole(file, functools.partial(_save, array))


def _save(array: Array, path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
