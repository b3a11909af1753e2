"""Checks of arrays that a user gives, and the form in which they are stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from harness.data.arrays.spec import Kind, Target
from harness.data.dataset import Pair
from harness.data.files import Array
from harness.data.order import VALIDATION_SEED, ranking
from harness.errors import DataError


class Split(NamedTuple):
    """Arrays of examples, by name: those trained on, and those held out."""

    train: Mapping[str, Array]
    held_out: Mapping[str, Array]


def target_of(y: Any) -> Target:
    """What targets hold: nothing, whole numbers or reals."""
    if y is None:
        return "next_token"
    return "class" if _array(y, "y").dtype.kind in "iub" else "real"


def pair_of(
    x: Any, y: Any, context: int | None, target: Target, x_name: str, y_name: str
) -> Pair:
    """Inputs and targets as arrays, without targets for next tokens."""
    inputs = _array(x, x_name)
    if target == "next_token":
        return _windows(inputs, context), np.empty(0, np.int32)
    if y is None:
        raise DataError(f"Arrays: {y_name} is missing; the training examples have it")
    targets = _array(y, y_name)
    if len(inputs) != len(targets):
        raise DataError(f"Arrays: {len(inputs):,} inputs but {len(targets):,} targets")
    return inputs, targets


def _array(value: Any, name: str) -> Array:
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.empty(0, object)
    if array.dtype.kind not in "fiub":
        raise DataError(
            f"Arrays: {name} is not a rectangular array of numbers (rows of different "
            f"lengths, or {array.dtype}); make all rows of one length"
        )
    if not array.size:
        raise DataError(f"Arrays: {name} of shape {array.shape} is empty")
    return array


def _windows(x: Array, context: int | None) -> Array:
    """Rows of T + 1 tokens: each has the target of its last token."""
    if x.ndim == 2 and context is None:
        return x
    if x.ndim != 1 or context is None or context < 1:
        raise DataError(
            f"Arrays: x of shape {x.shape} without y is text: give (n, T + 1) token "
            "ids, or a flat stream and its context"
        )
    windows: int = (len(x) - 1) // context
    if windows < 1:
        raise DataError(
            f"Arrays: {len(x):,} tokens are fewer than one window of context {context} "
            "and its last target"
        )
    starts = np.arange(windows)[:, None] * context
    cut: Array = x[starts + np.arange(context + 1)]
    return cut


def kind_of(x: Array, target: Target, vocab: int | None) -> Kind:
    """The kind of the inputs, which follows from their shape."""
    if target == "next_token" or vocab is not None:
        return "tokens"
    kinds: dict[int, Kind] = {2: "vectors", 3: "sequences", 4: "images"}
    if x.ndim not in kinds:
        raise DataError(
            f"Arrays: x of shape {x.shape} is none of (n, I) vectors, (n, T, I) "
            "sequences, (n, height, width, channels) images"
        )
    return kinds[x.ndim]


def stored(pair: Pair, kind: Kind, target: Target) -> Pair:
    """Inputs and targets as they are stored. Raises `DataError` for wrong values."""
    x, y = pair
    return _inputs(x, kind), y if target == "next_token" else _targets(y, target)


def _inputs(x: Array, kind: Kind) -> Array:
    if kind == "tokens":
        return _ids(x, "x")
    if not np.isfinite(x).all():
        raise DataError("Arrays: x holds numbers that are not finite; clean them first")
    if kind != "images":
        return x.astype(np.float32)
    if x.dtype == np.uint8:
        return (x / np.float32(255)).astype(np.float32)
    if x.min() < 0 or x.max() > 1:
        raise DataError(
            f"Arrays: images lie in {x.min():g} … {x.max():g}; give bytes (uint8), or "
            "reals in [0, 1]"
        )
    return x.astype(np.float32)


def _targets(y: Array, target: Target) -> Array:
    if target == "class":
        flat = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
        if flat.ndim != 1:
            raise DataError(f"Arrays: labels of shape {y.shape}; give one a row, (n,)")
        return _ids(flat, "y")
    if not np.isfinite(y).all():
        raise DataError("Arrays: y holds numbers that are not finite; clean them first")
    real = y[:, None] if y.ndim == 1 else y
    if real.ndim != 2:
        raise DataError(f"Arrays: targets of shape {y.shape}; give (n,) or (n, O)")
    return real.astype(np.float32)


def _ids(values: Array, name: str) -> Array:
    whole = values.dtype.kind in "iub" or np.array_equal(values, np.floor(values))
    if not whole or values.min() < 0 or values.max() >= 2**31:
        raise DataError(
            f"Arrays: {name} holds {values.min()} … {values.max()}; labels and token "
            "ids are whole numbers from 0"
        )
    return values.astype(np.int32)


def named(pair: Pair) -> dict[str, Array]:
    """The arrays of a pair by name."""
    x, y = pair
    return {"x": x, "y": y} if len(y) else {"x": x}


def split_off(pair: Pair, share: float, target: Target) -> Split:
    """The examples, that share of them held out, of each class alike.

    Which these are is a function of the examples' number and labels alone.
    """
    x, y = pair
    groups = [y == label for label in np.unique(y)] if target == "class" else []
    held = np.zeros(len(x), bool)
    for group in groups or [np.ones(len(x), bool)]:
        members = np.flatnonzero(group)
        order = ranking(VALIDATION_SEED, None, len(members))
        held[members[order[: round(share * len(members))]]] = True
    if not 0 < share < 1 or held.sum() < 2 or held.all():
        raise DataError(
            f"Arrays: held_out {share} of {len(x):,} examples; hold out a share that "
            "is two examples or more and leaves some"
        )
    train, held_out = (_rows(pair, chosen) for chosen in (~held, held))
    return Split(train, held_out)


def _rows(pair: Pair, chosen: Array) -> dict[str, Array]:
    x, y = pair
    return named((x[chosen], y[chosen] if len(y) else y))


def sizes(
    split: Split, kind: Kind, target: Target, vocab: int | None, classes: int | None
) -> dict[str, int]:
    """The fields of the spec that are sizes. Raises `DataError` for what is beyond."""
    x, held = split.train["x"], split.held_out["x"]
    if x.shape[1:] != held.shape[1:] or split.train.keys() != split.held_out.keys():
        raise DataError(
            f"Arrays: training inputs have shape {x.shape[1:]}, held-out ones "
            f"{held.shape[1:]}; they must be equal, and both have targets or none"
        )
    if kind == "tokens":
        inputs = _below("x", (x, held), vocab, "vocab")
        length = x.shape[1] - (target == "next_token")
    else:
        inputs = x.shape[-1]
        length = x.shape[1] if kind == "sequences" else 1
    if length < 1:
        raise DataError(f"Arrays: rows of {x.shape[1]} token have nothing to predict")
    size = x.shape[1:3] if kind == "images" else (1, 1)
    return {
        "length": length,
        "inputs": inputs,
        "outputs": _outputs(split, inputs, target, classes),
        "height": size[0],
        "width": size[1],
    }


def _outputs(split: Split, inputs: int, target: Target, classes: int | None) -> int:
    if target == "next_token":
        return inputs
    y, held = split.train["y"], split.held_out["y"]
    if target == "class":
        return max(2, _below("y", (y, held), classes, "classes"))
    if y.shape[1:] != held.shape[1:]:
        raise DataError(
            f"Arrays: {y.shape[1]} training targets a row, {held.shape[1]} held-out"
        )
    return int(y.shape[1])


def _below(
    name: str, arrays: tuple[Array, Array], limit: int | None, field: str
) -> int:
    largest = max(int(a.max()) for a in arrays)
    if limit is not None and largest >= limit:
        raise DataError(
            f"Arrays: {name} holds {largest}, but {field} is {limit}: ids lie below it"
        )
    return limit or largest + 1
