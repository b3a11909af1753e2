"""Labelled images from IDX files, CIFAR batches or `.npz`, kept as uint8."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.data.catalog import named_images
from harness.data.dataset import (
    Arrays,
    Augment,
    Dataset,
    Pair,
    held_out_rows,
    resolve_stored,
    row_dataset,
)
from harness.data.files import (
    Array,
    Stamps,
    cache_folder,
    check_labels,
    class_labels,
    content_hash,
    read_npz,
    stamps,
)
from harness.data.images.formats import (
    Labelled,
    read_cifar_binary,
    read_cifar_pickled,
    read_idx,
)
from harness.data.images.spec import Images
from harness.data.order import split, subset
from harness.errors import DataError


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """One split of a data set, as read."""

    name: str
    """train or test."""
    x: NDArray[np.uint8]
    """Images (n, height, width, channels)."""
    y: NDArray[np.int32]
    """Labels (n,)."""
    file: Path
    """Where the labels stand."""


def resolve(spec: Images) -> Images:
    """`spec` with sizes and content hash. Raises `DataError` for anything wrong."""
    height, width, channels, classes = spec.dimensions
    spec = dataclasses.replace(
        spec, height=height, width=width, channels=channels, classes=classes
    )
    return resolve_stored(spec, None, *_facts(spec))


def _facts(spec: Images) -> tuple[int, int, str]:
    """The numbers of training and test examples, and the hash of them all.

    A known data set need not be here: what was trained on it can be looked at without.
    """
    known = named_images().get(spec.data)
    if known and known.digest and not _files(spec.data):
        return known.train, known.test, known.digest
    train, test = read(spec)
    return len(train.y), len(test.y), _digest(_stamps(spec.data))


def check_files(spec: Images) -> None:
    """Raises `DataError` if the files are not on this machine."""
    files_of(spec.data)


def load(spec: Images, seed_data: int) -> Dataset:
    """The data set of a resolved spec; `seed_data` draws the subset."""
    spec = resolve(spec)
    train, test = read(spec)
    pool, validation = split(train.y, len(train.y), spec.validation_examples)
    chosen = subset(seed_data, train.y, pool, spec.unique)
    x, y = held_out_rows(spec, (train.x, train.y), (test.x, test.y), validation)
    return row_dataset(
        train={"x": train.x, "y": train.y},
        held_out={"x": x, "y": y},
        examples=len(chosen) if len(chosen) == len(train.y) else chosen,
        gather=_gather,
        augment=_augment(spec) if spec.augmented else None,
    )


def _gather(arrays: Arrays, offsets: Array) -> Pair:
    # Stored as bytes, a quarter of the memory; a division here costs nothing.
    return arrays["x"][offsets].astype("float32") / 255, arrays["y"][offsets]


def _augment(spec: Images) -> Augment:
    # Imported only for training: plans and counts never start jax.
    from harness.data.images.augment import augmentation

    return augmentation(spec)


def read(spec: Images) -> tuple[Split, Split]:
    """Training and test examples, checked against the spec. Raises `DataError`."""
    train, test = _read(_stamps(spec.data))
    for examples in (train, test):
        _check(examples, spec)
    if not len(test.y) and spec.evaluate == "test":
        raise DataError(
            f"{spec.data} has no test examples; set evaluate='validation' and "
            "validation_examples"
        )
    return train, test


def _check(examples: Split, spec: Images) -> None:
    *shape, classes = spec.dimensions
    x, n, file = examples.x, len(examples.y), examples.file
    if len(x) != n:
        raise DataError(
            f"{file} has {n:,} labels for {len(x):,} images; get files that belong "
            "together"
        )
    if n and list(x.shape[1:]) != shape:
        place = file if file.suffix == ".npz" else file.parent
        sizes, expected = ("×".join(map(str, s)) for s in (x.shape[1:], shape))
        raise DataError(
            f"{place} ({examples.name}) holds images of {sizes}, but height×width×"
            f"channels are {expected}; set them to the size of all images"
        )
    check_labels(examples.y, classes, file, "set classes")


def files_of(data: str) -> list[Path]:
    """The files that `data` names. Raises `DataError` if they are not there."""
    if files := _files(data):
        return files
    names = named_images()
    advice = (
        f"get it with `harness data fetch {data}`"
        if data in names
        else "give a folder with IDX files or CIFAR batches, an .npz file, or one of "
        f"the names {', '.join(names)}"
    )
    raise DataError(f"{data} is not on this machine: {advice}")


def _files(data: str) -> list[Path]:
    folder = cache_folder() / data if data in named_images() else Path(data)
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
    """The split of a file, and its content: x, y, or a CIFAR format, which has both."""
    for prefix, role in IDX_NAMES.items():
        if file.name.startswith(prefix):
            return role
    name = "train" if file.stem in ("train", *_BATCHES) else "test"
    if file.stem not in ("train", "test", "test_batch", *_BATCHES):
        return None
    if file.suffix == ".bin":
        return name, "cifar100" if file.stem in ("train", "test") else "cifar10"
    return (name, "pickled") if not file.suffix else None


_BATCHES = tuple(f"data_batch_{k}" for k in range(1, 6))


def _stamps(data: str) -> Stamps:
    return stamps(files_of(data))


@functools.lru_cache(maxsize=4)
def _read(stamps: Stamps) -> tuple[Split, Split]:
    files = [Path(name) for name, _, _ in stamps]
    if files[0].suffix == ".npz":
        arrays = read_npz(files[0], ("x", "y"), ("x_test", "y_test"))
        return _of_npz(arrays, files[0], "train"), _of_npz(arrays, files[0], "test")
    return _of_files(files, "train"), _of_files(files, "test")


def _of_files(files: list[Path], name: str) -> Split:
    roles = [(file, role) for file in files if (role := _role(file))]
    batches = [(file, kind) for file, (split_name, kind) in roles if split_name == name]
    by_kind = {kind: file for file, kind in batches}
    folder = files[0].parent
    if not by_kind:
        raise DataError(f"{folder} has no {name} files; get the whole data set")
    if by_kind.keys() <= {"x", "y"}:
        return _of_idx(by_kind, name)
    if len(by_kind) > 1:
        names = ", ".join(file.name for file in by_kind.values())
        raise DataError(f"{folder} mixes formats ({names}); keep one of them")
    x, y = zip(*(_read_cifar(file, kind) for file, kind in batches), strict=True)
    last, _ = batches[-1]
    return Split(name=name, x=np.concatenate(x), y=np.concatenate(y), file=last)


def _read_cifar(file: Path, kind: str) -> Labelled:
    if kind == "pickled":
        return read_cifar_pickled(file)
    return read_cifar_binary(file, 2 if kind == "cifar100" else 1)


def _of_idx(files: dict[str, Path], name: str) -> Split:
    for kind, content in (("x", "images"), ("y", "labels")):
        if kind not in files:
            other = next(iter(files.values()))
            raise DataError(
                f"{other.parent} lacks the {name} {content} of {other.name}"
            )
    x = read_idx(files["x"], 3)[..., None]
    y = read_idx(files["y"], 1).astype(np.int32)
    return Split(name=name, x=x, y=y, file=files["y"])


def _of_npz(arrays: Arrays, file: Path, name: str) -> Split:
    suffix = "" if name == "train" else "_test"
    x = arrays.get(f"x{suffix}", np.empty((0, 1, 1), np.uint8))
    y = arrays.get(f"y{suffix}", np.empty(0, np.int32))
    if x.dtype != np.uint8 or x.ndim not in (3, 4):
        raise DataError(
            f"{file}: x{suffix} is {x.dtype} of shape {x.shape}; images are uint8 of "
            "shape (n, height, width) or (n, height, width, channels)"
        )
    labels = class_labels(y, file, f"y{suffix}")
    return Split(name=name, x=x if x.ndim == 4 else x[..., None], y=labels, file=file)


@functools.lru_cache(maxsize=8)
def _digest(stamps: Stamps) -> str:
    train, test = _read(stamps)
    return content_hash(train.x, train.y, test.x, test.y)
