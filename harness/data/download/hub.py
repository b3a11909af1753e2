"""Hugging Face data sets to files that sweeps read: images, rows of numbers, text.

The package `datasets`, which downloads and decodes them, is in the extra `hf`. What is
written holds no trace of it, so that only the importing machine needs it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from harness.data.files import Array, write_whole
from harness.data.text.bpe import SEPARATOR
from harness.errors import DataError


class Split(Protocol):
    """One split of a data set, as the package `datasets` gives it."""

    features: Mapping[str, object]
    """The type of each column."""

    def __len__(self) -> int: ...

    def __getitem__(self, column: str, /) -> Iterable[object]: ...


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The splits and columns of a data set that are imported.

    `test` None takes the split "test", or "validation", if there is one. `inputs` and
    `target` are columns; None takes the ones whose types say what they are: the only
    image, text or class label, and for numbers all columns but the target.
    """

    name: str
    """A name on the Hub, or a folder with files that `datasets` reads."""
    config: str | None = None
    train: str = "train"
    test: str | None = None
    inputs: str | None = None
    target: str | None = None


def import_hf(selection: Selection, out: Path) -> str:
    """Writes `data.npz`, or `train.txt` and `held_out.txt`, into the folder `out`.

    Returns:
        The data source that reads it, as it stands in a sweep file.

    Raises:
        DataError: for a missing package, a data set that cannot be loaded, columns
            that cannot be told apart, and images or rows of unequal size.
    """
    splits = _load(selection)
    train = _split(splits, selection.train, selection)
    default = next((name for name in ("test", "validation") if name in splits), None)
    name = selection.test or default
    test = _split(splits, name, selection) if name else None
    kinds = {column: _kind(feature) for column, feature in train.features.items()}
    for column in (selection.inputs, selection.target):
        if column is not None and column not in kinds:
            raise DataError(
                f"{selection.name} has no column {column!r}; it has {', '.join(kinds)}"
            )
    if text := _text_column(kinds, selection):
        return _write_text(out, text, train, test)
    target = selection.target or _only(kinds, "ClassLabel", selection)
    if target is None:
        raise _unclear(kinds, "ClassLabel", "target", selection)
    image = selection.inputs or _only(kinds, "Image", selection)
    if image and kinds[image] == "Image":
        return _write_images(out, image, target, train, test)
    return _write_rows(out, selection.inputs, target, train, test)


def _load(selection: Selection) -> Mapping[str, Split]:
    try:
        datasets = import_module("datasets")
    except ImportError:
        raise DataError(
            "importing from Hugging Face needs datasets: "
            "pip install 'scaling-harness[hf]'"
        ) from None
    try:
        splits: Mapping[str, Split] = datasets.load_dataset(
            selection.name, selection.config
        )
    # It raises errors of many packages; all the same to the user.
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DataError(
            f"datasets cannot load {selection.name!r} ({text}); check the name, the "
            "config and the connection, or give a folder with its files"
        ) from None
    return splits


def _split(splits: Mapping[str, Split], name: str, selection: Selection) -> Split:
    if name not in splits:
        raise DataError(
            f"{selection.name} has no split {name!r}; it has {', '.join(splits)}"
        )
    if not len(splits[name]):
        raise DataError(f"the split {name!r} of {selection.name} is empty")
    return splits[name]


def _kind(feature: object) -> str:
    """The content of a column: Image, ClassLabel, string, or another type's name."""
    if getattr(feature, "dtype", None) in ("string", "large_string"):
        return "string"
    return type(feature).__name__


def _only(kinds: Mapping[str, str], kind: str, selection: Selection) -> str | None:
    """The only column of a kind; None if there is none."""
    columns = [column for column, other in kinds.items() if other == kind]
    if len(columns) > 1:
        option = "target" if kind == "ClassLabel" else "inputs"
        raise _unclear(kinds, kind, option, selection)
    return columns[0] if columns else None


def _unclear(
    kinds: Mapping[str, str], kind: str, option: str, selection: Selection
) -> DataError:
    count = list(kinds.values()).count(kind) or "no"
    return DataError(
        f"{selection.name} has {count} columns of type {kind}; name the one to use "
        f"with --{option} (columns: {', '.join(kinds)})"
    )


def _text_column(kinds: Mapping[str, str], selection: Selection) -> str | None:
    if selection.target:
        return None
    if selection.inputs:
        return selection.inputs if kinds[selection.inputs] == "string" else None
    return None if "Image" in kinds.values() else _only(kinds, "string", selection)


def _write_text(out: Path, column: str, train: Split, test: Split | None) -> str:
    splits = {"train.txt": train} | ({} if test is None else {"held_out.txt": test})
    for name, split in splits.items():
        content = SEPARATOR.join(str(text).encode() for text in split[column] if text)
        if not content:
            raise DataError(f"the column {column!r} holds no text")
        write_whole(out / name, functools.partial(Path.write_bytes, data=content))
    held_out = "" if test is None else f", held_out='{out}/held_out.txt'"
    return f"Text(corpus='{out}/train.txt'{held_out})"


def _write_images(
    out: Path, column: str, target: str, train: Split, test: Split | None
) -> str:
    def images_and_labels(split: Split) -> tuple[Array, Array]:
        images = _stacked(split[column], column)
        if images.dtype != np.uint8 or images.ndim not in (3, 4):
            raise DataError(
                f"images in {column!r} are {images.dtype} of shape "
                f"{images.shape[1:]}, not 8-bit grey or colour; convert them first"
            )
        labels = _numbers(split, target)
        if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
            raise DataError(f"column {target!r} does not hold class labels")
        return images, labels

    arrays = _write_npz(out, images_and_labels, train, test, column)
    height, width, *channels = arrays["x"].shape[1:]
    return (
        f"Images(data='{out}/data.npz', height={height}, width={width}, "
        f"channels={channels[0] if channels else 1}, "
        f"classes={_classes(train, target, arrays)}{_evaluation(test)})"
    )


def _write_rows(
    out: Path, inputs: str | None, target: str, train: Split, test: Split | None
) -> str:
    columns = [inputs] if inputs else [c for c in train.features if c != target]

    def inputs_and_targets(split: Split) -> tuple[Array, Array]:
        x = [_numbers(split, column) for column in columns]
        joined = x[0] if inputs and x[0].ndim > 1 else np.stack(x, axis=1)
        return joined, _numbers(split, target)

    arrays = _write_npz(out, inputs_and_targets, train, test, ", ".join(columns))
    x = arrays["x"]
    is_class = np.issubdtype(arrays["y"].dtype, np.integer)
    length = f", length={x.shape[1]}" if x.ndim == 3 else ""
    outputs = _classes(train, target, arrays) if is_class else 1
    kind = "class" if is_class else "real"
    return (
        f"Table(data='{out}/data.npz', inputs={x.shape[-1]}{length}, "
        f"outputs={outputs}, target={kind!r}{_evaluation(test)})"
    )


def _write_npz(
    out: Path,
    pair: Callable[[Split], tuple[Array, Array]],
    train: Split,
    test: Split | None,
    columns: str,
) -> dict[str, Array]:
    """The arrays x and y of both splits, as written to `data.npz`."""
    arrays = dict(zip(("x", "y"), pair(train), strict=True))
    if test is not None:
        arrays["x_test"], arrays["y_test"] = pair(test)
        if arrays["x_test"].shape[1:] != arrays["x"].shape[1:]:
            raise DataError(f"{columns}: training and test examples differ in shape")
    # Typed so, since the stubs take each array for one of savez's own options.
    contents: dict[str, Any] = arrays
    write_whole(out / "data.npz", lambda file: np.savez(file, **contents))
    return arrays


def _numbers(split: Split, column: str) -> Array:
    values = _stacked(split[column], column)
    if values.dtype.kind not in "fiub":
        raise DataError(f"column {column!r} does not hold numbers; name others")
    return values


def _stacked(values: Iterable[object], column: str) -> Array:
    """The values of a column as one array. Raises `DataError` for unequal shapes."""
    arrays: Sequence[Array] = [np.asarray(value) for value in values]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        examples = " and ".join(map(str, sorted(shapes, key=str)[:2]))
        raise DataError(
            f"column {column!r} has values of unequal size, such as {examples}; bring "
            "them to one size first"
        )
    return np.stack(arrays)


def _classes(train: Split, target: str, arrays: Mapping[str, Array]) -> int:
    known = getattr(train.features[target], "num_classes", None)
    largest = max(int(arrays[k].max()) for k in ("y", "y_test") if k in arrays)
    return int(known or largest + 1)


def _evaluation(test: Split | None) -> str:
    return "" if test is not None else ", validation_examples=…, evaluate='validation'"
