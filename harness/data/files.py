"""What all readers of data files share: the cache, fingerprints, one-line errors."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import DataError

Stamps = tuple[tuple[str, int, int], ...]
"""Path, size and time of each file: a changed file is read again."""


def cache_folder() -> Path:
    """Where fetched data sets lie, one folder each."""
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
    """What to do about a damaged file."""
    cache = cache_folder()
    if cache in file.parents:
        name = file.relative_to(cache).parts[0]
        return f"get it again with `harness data fetch {name} --force`"
    return "get or write the file again"


def content_hash(*arrays: Any) -> str:
    """16 hex digits of sha256 over types, shapes and contents."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype.str}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()[:16]
