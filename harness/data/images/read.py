"""Labelled images from IDX files, CIFAR batches or `.npz`, kept as uint8."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data import choose, npz
from harness.data.dataset import Arrays, Dataset, row_dataset
from harness.data.files import Stamps, cache_folder, content_hash, stamps
from harness.data.images import cifar
from harness.data.images.idx import read_idx
from harness.data.images.spec import KNOWN, Images
from harness.errors import DataError


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One split of a data set, as read."""

    split: str
    x: NDArray[np.uint8]
    """Images (n, height, width, channels)."""
    y: NDArray[np.int32]
    """Labels (n,)."""
    file: Path
    """Where the labels stand."""


def resolve(spec: Images) -> Images:
    """`spec` with sizes and content hash. Raises `DataError` for anything wrong."""
    train, test, digest = _facts(spec)
    pool, validation = choose.split(None, train, spec.validation_examples)
    what = f"{spec.data} ({spec.evaluate})"
    available = len(validation) if spec.evaluate == "validation" else test
    evaluated = available if spec.eval_examples is None else spec.eval_examples
    choose.evenly(available, evaluated, what)
    if spec.digest not in (None, digest):
        raise DataError(
            f"{spec.data} has changed since its hash was {spec.digest}; "
            f"it is now {digest}"
        )
    height, width, channels, classes = spec.dimensions
    return dataclasses.replace(
        spec,
        height=height,
        width=width,
        channels=channels,
        classes=classes,
        eval_examples=evaluated,
        unique_examples=choose.enough(spec.unique_examples, len(pool), spec.data),
        digest=digest,
    )


def _facts(spec: Images) -> tuple[int, int, str]:
    """How many examples to train on and to test with, and the hash of them all.

    A known data set need not be here: what was trained on it can be looked at without.
    """
    known = KNOWN.get(spec.data)
    if known and known.digest and not _files(spec.data):
        return known.train, known.test, known.digest
    train, test = read(spec)
    return len(train.y), len(test.y), _digest(_stamps(spec.data))


def check_files(spec: Images) -> None:
    """Raises `DataError` if the files are not on this machine."""
    files_of(spec.data)


def load(spec: Images, seed_data: int) -> Dataset:
    """The data set of a resolved spec; `seed_data` draws the subset."""
    resolve(spec)
    train, test = read(spec)
    pool, validation = choose.split(train.y, len(train.y), spec.validation_examples)
    chosen = choose.subset(seed_data, train.y, pool, spec.unique)
    held: dict[str, Any] = {"x": test.x, "y": test.y}
    if spec.evaluate == "validation":
        held = {"x": train.x[validation], "y": train.y[validation]}
    assert spec.eval_examples is not None
    evaluated = choose.evenly(len(held["y"]), spec.eval_examples, spec.data)
    return row_dataset(
        train={"x": train.x, "y": train.y},
        held_out={name: array[evaluated] for name, array in held.items()},
        examples=len(chosen) if len(chosen) == len(train.y) else chosen,
        gather=_gather,
        augment=_augment(spec) if spec.augmented else None,
    )


def _gather(arrays: Arrays, offsets: Any) -> tuple[Any, Any]:
    # Stored as bytes, a quarter of the memory; a division here costs nothing.
    return arrays["x"][offsets].astype("float32") / 255, arrays["y"][offsets]


def _augment(spec: Images) -> Any:
    # Imported only for training: plans and counts never start jax.
    from harness.data.images.augment import augmentation

    return augmentation(spec)


def read(spec: Images) -> tuple[Part, Part]:
    """Training and test part, checked against the spec. Raises `DataError`."""
    train, test = _read(_stamps(spec.data))
    for part in (train, test):
        _check(part, spec)
    if not len(test.y) and spec.evaluate == "test":
        raise DataError(
            f"{spec.data} has no test examples; set evaluate='validation' and "
            "validation_examples"
        )
    return train, test


def _check(part: Part, spec: Images) -> None:
    *shape, classes = spec.dimensions
    n, file = len(part.y), part.file
    if len(part.x) != n:
        raise DataError(
            f"{file} has {n:,} labels for {len(part.x):,} images; get files that "
            "belong together"
        )
    if n and list(part.x.shape[1:]) != shape:
        where = file if file.suffix == ".npz" else file.parent
        found, said = ("×".join(map(str, s)) for s in (part.x.shape[1:], shape))
        raise DataError(
            f"{where} ({part.split}) holds images of {found}, but height×width×"
            f"channels are {said}; set them to the size of all images"
        )
    if n and not 0 <= part.y.min() <= part.y.max() < classes:
        bad = part.y.max() if part.y.max() >= classes else part.y.min()
        raise DataError(
            f"{file} holds label {bad}, but labels lie in [0, {classes}); set classes, "
            "or mend the file"
        )


def files_of(data: str) -> list[Path]:
    """The files that `data` names. Raises `DataError` if they are not there."""
    if files := _files(data):
        return files
    how = (
        f"get it with `harness data fetch {data}`"
        if data in KNOWN
        else "give a folder with IDX files or CIFAR batches, an .npz file, or one of "
        f"the names {', '.join(KNOWN)}"
    )
    raise DataError(f"{data} is not on this machine: {how}")


def _files(data: str) -> list[Path]:
    folder = cache_folder() / data if data in KNOWN else Path(data)
    if folder.suffix == ".npz" and folder.is_file():
        return [folder]
    return sorted(f for f in folder.rglob("*") if f.is_file() and _role(f))


IDX_NAMES = {
    "train-images": ("train", "x"),
    "train-labels": ("train", "y"),
    "t10k-images": ("test", "x"),
    "t10k-labels": ("test", "y"),
    "test-images": ("test", "x"),
    "test-labels": ("test", "y"),
}


def _role(file: Path) -> tuple[str, str] | None:
    """(split, what is in it): x, y, or both, in one of the CIFAR formats."""
    for prefix, role in IDX_NAMES.items():
        if file.name.startswith(prefix):
            return role
    split = "train" if file.stem in ("train", *_BATCHES) else "test"
    if file.stem not in ("train", "test", "test_batch", *_BATCHES):
        return None
    if file.suffix == ".bin":
        return split, "cifar100" if file.stem in ("train", "test") else "cifar10"
    return (split, "pickled") if not file.suffix else None


_BATCHES = tuple(f"data_batch_{k}" for k in range(1, 6))


def _stamps(data: str) -> Stamps:
    return stamps(files_of(data))


@functools.lru_cache(maxsize=4)
def _read(found: Stamps) -> tuple[Part, Part]:
    files = [Path(name) for name, _, _ in found]
    if files[0].suffix == ".npz":
        return _from_npz(files[0])
    return _part(files, "train"), _part(files, "test")


def _part(files: list[Path], split: str) -> Part:
    found = [(file, role) for file in files if (role := _role(file))]
    kinds = {kind: file for file, (half, kind) in found if half == split}
    where = files[0].parent
    if not kinds:
        raise DataError(f"{where} has no {split} files; get the whole data set")
    if kinds.keys() <= {"x", "y"}:
        return _idx_part(kinds, split)
    if len(kinds) > 1:
        names = ", ".join(file.name for file in kinds.values())
        raise DataError(f"{where} mixes formats ({names}); keep one of them")
    (kind,) = kinds
    batches = [_batch(file, kind) for file, (half, _) in found if half == split]
    x, y = (np.concatenate(side) for side in zip(*batches, strict=True))
    return Part(split=split, x=x, y=y, file=kinds[kind])


def _batch(file: Path, kind: str) -> cifar.Labelled:
    if kind == "pickled":
        return cifar.read_pickled(file)
    return cifar.read_binary(file, 2 if kind == "cifar100" else 1)


def _idx_part(files: dict[str, Path], split: str) -> Part:
    for kind, what in (("x", "images"), ("y", "labels")):
        if kind not in files:
            other = next(iter(files.values()))
            raise DataError(f"{other.parent} lacks the {split} {what} of {other.name}")
    x = read_idx(files["x"], 3)[..., None]
    y = read_idx(files["y"], 1).astype(np.int32)
    return Part(split=split, x=x, y=y, file=files["y"])


def _from_npz(file: Path) -> tuple[Part, Part]:
    arrays = npz.read(file, ("x", "y"), ("x_test", "y_test"))
    return _npz_part(arrays, file, "train"), _npz_part(arrays, file, "test")


def _npz_part(arrays: Arrays, file: Path, split: str) -> Part:
    suffix = "" if split == "train" else "_test"
    x = arrays.get(f"x{suffix}", np.empty((0, 1, 1), np.uint8))
    y = arrays.get(f"y{suffix}", np.empty(0, np.int32))
    if x.dtype != np.uint8 or x.ndim not in (3, 4):
        raise DataError(
            f"{file}: x{suffix} is {x.dtype} of shape {x.shape}; images are uint8 of "
            "shape (n, height, width) or (n, height, width, channels)"
        )
    y = npz.labels(y, file, f"y{suffix}")
    return Part(split=split, x=x if x.ndim == 4 else x[..., None], y=y, file=file)


@functools.lru_cache(maxsize=8)
def _digest(found: Stamps) -> str:
    train, test = _read(found)
    return content_hash(train.x, train.y, test.x, test.y)
