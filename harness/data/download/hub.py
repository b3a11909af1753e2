"""Hugging Face data sets to files that sweeps read: images, rows of numbers, text.

The package `datasets`, which downloads and decodes them, is in the extra `hf`. What is
written holds no trace of it, so that only the importing machine needs it.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.text.bpe import SEPARATOR
from harness.errors import DataError


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Which part of a data set to import.

    `test` None takes the split "test", or "validation", if there is one. `inputs` and
    `target` are columns; None takes the ones whose types say what they are: the only
    image, text or class label, and for numbers all columns but the target.
    """

    name: str
    """On the Hub, or a folder with files that `datasets` reads."""
    config: str | None = None
    train: str = "train"
    test: str | None = None
    inputs: str | None = None
    target: str | None = None


def import_hf(wanted: Wanted, out: Path) -> str:
    """Writes `data.npz`, or `train.txt` and `held_out.txt`, into the folder `out`.

    Returns:
        The data source that reads it, as it stands in a sweep file.

    Raises:
        DataError: for a missing package, a data set that cannot be loaded, columns
            that cannot be told apart, and images or rows of unequal size.
    """
    splits = _load(wanted)
    train = _split(splits, wanted.train, wanted)
    name = wanted.test or next((s for s in ("test", "validation") if s in splits), None)
    test = _split(splits, name, wanted) if name else None
    features = train.features
    if text := _text_column(features, wanted):
        return _write_text(out, text, train, test)
    target = wanted.target or _only(features, "ClassLabel", "target", wanted)
    image = wanted.inputs or _only(features, "Image", None, wanted)
    if image and _kind(features, image, wanted) == "Image":
        return _write_images(out, image, target, train, test)
    return _write_rows(out, wanted.inputs, target, train, test)


def _load(wanted: Wanted) -> Mapping[str, Any]:
    try:
        datasets = import_module("datasets")
    except ImportError:
        raise DataError(
            "importing from Hugging Face needs datasets: "
            "pip install 'scaling-harness[hf]'"
        ) from None
    try:
        found: Mapping[str, Any] = datasets.load_dataset(wanted.name, wanted.config)
    # It raises errors of many packages; all the same to the user.
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DataError(
            f"datasets cannot load {wanted.name!r} ({text}); check the name, the "
            "config and the connection, or give a folder with its files"
        ) from None
    return found


def _split(splits: Mapping[str, Any], name: str, wanted: Wanted) -> Any:
    if name not in splits:
        raise DataError(
            f"{wanted.name} has no split {name!r}; it has {', '.join(splits)}"
        )
    if not len(splits[name]):
        raise DataError(f"the split {name!r} of {wanted.name} is empty")
    return splits[name]


def _kind(features: Mapping[str, Any], column: str, wanted: Wanted) -> str:
    """What a column holds: Image, ClassLabel, string, or another type's name."""
    if column not in features:
        raise DataError(
            f"{wanted.name} has no column {column!r}; it has {', '.join(features)}"
        )
    feature = features[column]
    if getattr(feature, "dtype", None) in ("string", "large_string"):
        return "string"
    return type(feature).__name__


def _only(
    features: Mapping[str, Any], kind: str, needed: str | None, wanted: Wanted
) -> Any:
    """The only column of a kind; None if there is none and it is not `needed`."""
    found = [c for c in features if _kind(features, c, wanted) == kind]
    if len(found) == 1:
        return found[0]
    if not found and needed is None:
        return None
    option = needed or "inputs"
    raise DataError(
        f"{wanted.name} has {len(found) or 'no'} columns of type {kind}; name the one "
        f"to use with --{option} (columns: {', '.join(features)})"
    )


def _text_column(features: Mapping[str, Any], wanted: Wanted) -> Any:
    if wanted.target:
        return None
    if wanted.inputs:
        is_text = _kind(features, wanted.inputs, wanted) == "string"
        return wanted.inputs if is_text else None
    kinds = {_kind(features, c, wanted) for c in features}
    has_text = "string" in kinds and "Image" not in kinds
    return _only(features, "string", None, wanted) if has_text else None


def _write_text(out: Path, column: str, train: Any, test: Any) -> str:
    files = {"train.txt": train} | ({"held_out.txt": test} if test is not None else {})
    for name, split in files.items():
        content = SEPARATOR.join(text.encode() for text in split[column] if text)
        if not content:
            raise DataError(f"the column {column!r} holds no text")
        _publish(out / name, lambda file, content=content: file.write(content))
    held = f", held_out='{out}/held_out.txt'" if test is not None else ""
    return f"Text(corpus='{out}/train.txt'{held})"


def _write_images(out: Path, column: str, target: str, train: Any, test: Any) -> str:
    def arrays(split: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        x = [np.asarray(image) for image in split[column]]
        _of_one_shape(x, column)
        if x[0].dtype != np.uint8 or x[0].ndim not in (2, 3):
            raise DataError(
                f"images in {column!r} are {x[0].dtype} of shape {x[0].shape}, not "
                "8-bit grey or colour; convert them first"
            )
        return np.stack(x), _labels(split, target)

    both = _pairs(arrays, train, test, column)
    _save(out, both)
    height, width, *channels = both["x"].shape[1:]
    return (
        f"Images(data='{out}/data.npz', height={height}, width={width}, "
        f"channels={channels[0] if channels else 1}, "
        f"classes={_classes(train, target, both)}{_evaluated(test)})"
    )


def _write_rows(
    out: Path, inputs: str | None, target: str, train: Any, test: Any
) -> str:
    columns = [inputs] if inputs else [c for c in train.features if c != target]

    def arrays(split: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        x = [_numbers(split, column) for column in columns]
        joined = x[0] if inputs and x[0].ndim > 1 else np.stack(x, axis=1)
        return joined, _numbers(split, target)

    both = _pairs(arrays, train, test, ", ".join(columns))
    x, y = both["x"], both["y"]
    is_class = np.issubdtype(y.dtype, np.integer)
    _save(out, both)
    length = f", length={x.shape[1]}" if x.ndim == 3 else ""
    outputs = _classes(train, target, both) if is_class else 1
    kind = "class" if is_class else "real"
    return (
        f"Table(data='{out}/data.npz', inputs={x.shape[-1]}{length}, "
        f"outputs={outputs}, target={kind!r}{_evaluated(test)})"
    )


def _pairs(arrays: Any, train: Any, test: Any, what: str) -> dict[str, NDArray[Any]]:
    x, y = arrays(train)
    found = {"x": x, "y": y}
    if test is not None:
        found["x_test"], found["y_test"] = arrays(test)
        if found["x_test"].shape[1:] != x.shape[1:]:
            raise DataError(f"{what}: training and test examples differ in shape")
    return found


def _numbers(split: Any, column: str) -> NDArray[Any]:
    values = [np.asarray(v) for v in split[column]]
    _of_one_shape(values, column)
    made = np.stack(values)
    if made.dtype.kind not in "fiub":
        raise DataError(f"column {column!r} does not hold numbers; name others")
    return made


def _labels(split: Any, target: str) -> NDArray[Any]:
    y = _numbers(split, target)
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
        raise DataError(f"column {target!r} does not hold class labels")
    return y


def _of_one_shape(values: Sequence[NDArray[Any]], column: str) -> None:
    shapes = {value.shape for value in values}
    if len(shapes) > 1:
        shown = " and ".join(map(str, sorted(shapes, key=str)[:2]))
        raise DataError(
            f"column {column!r} has values of unequal size, such as {shown}; bring "
            "them to one size first"
        )


def _classes(train: Any, target: str, both: Mapping[str, NDArray[Any]]) -> int:
    known = getattr(train.features[target], "num_classes", None)
    largest = max(int(both[k].max()) for k in ("y", "y_test") if k in both)
    return int(known or largest + 1)


def _evaluated(test: Any) -> str:
    return "" if test is not None else ", validation_examples=…, evaluate='validation'"


def _save(out: Path, arrays: Mapping[str, Any]) -> None:
    _publish(out / "data.npz", lambda file: np.savez(file, **arrays))


def _publish(path: Path, write: Any) -> None:
    """Writes a file that appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
