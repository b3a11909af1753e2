"""Exclusive creation of a file on a disk: of many who try for a name, one has it.

The rule is `link`, one operation that puts a whole file at a name. Where a file system
has none (FAT, some mounted object stores), it is the creation of an empty file
(`O_EXCL`), over which the content is then moved. The way is chosen once per store and
written into it, so that all workers go the same.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
import uuid
from pathlib import Path
from typing import Literal

Way = Literal["link", "create"]
WAYS: tuple[Way, ...] = ("link", "create")
REFUSED = frozenset(
    getattr(errno, name)
    for name in ("EPERM", "ENOSYS", "EIO", "ENOTSUP", "EOPNOTSUPP", "EMLINK")
)
"""Errors of `link` on file systems without, and of many that have it for a moment."""
PROBES = 3
EMPTY_S = 10.0
"""Seconds for which a name must stay empty to be one whose creator has died."""


def best_way(folder: Path) -> Way:
    """The way that the file system of a folder allows."""
    source = folder / f".probe.{uuid.uuid4().hex}.tmp"
    target = folder / f".probe.{uuid.uuid4().hex}.tmp"
    try:
        source.touch()
        for attempt in range(PROBES):
            try:
                os.link(source, target)
                return "link"
            except OSError as error:
                if error.errno not in REFUSED:
                    raise
                time.sleep(0.05 * attempt)
        return "create"
    finally:
        for probe in (source, target):
            with contextlib.suppress(OSError):
                probe.unlink(missing_ok=True)


def link(temporary: Path, path: Path) -> bool:
    """Puts a file at a name that is free; False if the name is another's."""
    try:
        os.link(temporary, path)
    except OSError as error:
        # Where the server's reply was lost, the name is this file's already; its own
        # links tell, as another's file may be gone by now.
        if _links(temporary) > 1:
            return True
        if isinstance(error, FileExistsError):
            return False
        raise
    return True


def create(temporary: Path, path: Path, content: bytes, *, adopt: bool) -> bool:
    """The same without links. `adopt` is to take a name that stays empty.

    A creator that dies between the two steps leaves an empty file. Nobody waits for a
    claim's: it is silent, and the next generation is claimed.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError:
        if adopt and _stays_empty(path):
            os.replace(temporary, path)
        return path.read_bytes() == content
    os.replace(temporary, path)
    return True


def _links(path: Path) -> int:
    # Opened, since a network file system may know the number of a while ago only.
    with path.open("rb") as file:
        return os.fstat(file.fileno()).st_nlink


def _stays_empty(path: Path) -> bool:
    end = time.monotonic() + EMPTY_S
    while not path.stat().st_size:
        if time.monotonic() > end:
            return True
        time.sleep(0.1)
    return False
