"""Files that data sets are read from: the cache, fingerprints, one-line errors, npz."""

from __future__ import annotations

import gzip
import hashlib
import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import DataError

Array = NDArray[Any]

Stamps = tuple[tuple[str, int, int], ...]
"""Path, size and time of each file: a changed file is read again."""


def cache_folder() -> Path:
    """The folder of fetched data sets, one folder each."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "scaling-harness" / "data"


def stamps(files: list[Path]) -> Stamps:
    """The stamps of existing files."""
    return tuple((str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files)


def read_bytes(file: Path) -> bytes:
    """The content of `file`, unpacked if it ends in .gz; `DataError` if damaged."""
    try:
        raw = file.read_bytes()
        return gzip.decompress(raw) if file.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file} cannot be read ({error}); {remedy(file)}") from None


def remedy(file: Path) -> str:
    """The advice for a damaged file."""
    cache = cache_folder()
    if cache in file.parents:
        name = file.relative_to(cache).parts[0]
        return f"get it again with `harness data fetch {name} --force`"
    return "get or write the file again"


def write_whole(path: Path, content: Callable[[Path], object]) -> None:
    """Writes a file that appears whole or not at all; `content` fills the path given.

    The folder of the file is made if need be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.tmp.{path.name}")
    try:
        content(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def type_and_shape(array: Array) -> str:
    """The words that distinguish arrays of equal bytes."""
    return f"{array.dtype.str}{array.shape}"


def content_hash(
    *arrays: Array, heading: Callable[[Array], str] = type_and_shape
) -> str:
    """16 hex digits of sha256 over each array's heading and contents."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(heading(array).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def check_unchanged(name: str, recorded: str | None, digest: str) -> None:
    """Raises `DataError` if a content hash is not the one recorded in a spec."""
    if recorded not in (None, digest):
        raise DataError(
            f"{name} has changed since its hash was {recorded}; it is now {digest}"
        )


def read_npz(
    file: Path, needed: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, Array]:
    """The named arrays of an `.npz` file, none of them pickled.

    Optional arrays come all together or not at all. Raises `DataError` if one is
    missing or damaged.
    """
    try:
        with np.load(file, allow_pickle=False) as archive:
            names = set(archive.files)
            wanted = [*needed, *(optional if names & set(optional) else ())]
            if missing := [name for name in wanted if name not in names]:
                raise DataError(
                    f"{file} lacks the array {missing[0]!r}; it holds "
                    f"{', '.join(sorted(names)) or 'none'}"
                )
            return {name: archive[name] for name in wanted}
    except DataError:
        raise
    except ValueError as error:
        raise DataError(
            f"{file} holds an array that is not rectangular numbers ({error}); images "
            "and rows must all have one size"
        ) from None
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{file} is not a readable .npz file ({error}); {remedy(file)}"
        ) from None


def class_labels(y: Array, file: Path, name: str) -> NDArray[np.int32]:
    """Class labels as int32. Raises `DataError` unless they are whole numbers (n,)."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
        raise DataError(
            f"{file}: {name} is {y.dtype} of shape {y.shape}; labels are whole numbers "
            "of shape (n,)"
        )
    return y.astype(np.int32)


def check_labels(y: NDArray[np.int32], classes: int, file: Path, hint: str) -> None:
    """Raises `DataError` for a label outside [0, classes); `hint` says what to set."""
    if len(y) and not 0 <= y.min() <= y.max() < classes:
        bad = y.max() if y.max() >= classes else y.min()
        raise DataError(
            f"{file} holds label {bad}, but labels lie in [0, {classes}); {hint}, or "
            "mend the file"
        )
