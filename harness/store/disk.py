"""Single operations on a disk, of which `files` makes its promises."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

HIDDEN = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")
"""Names of what is being written."""


def hidden(path: Path) -> Path:
    """A new name beside `path` that no reader sees."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")


@contextlib.contextmanager
def temporary(path: Path) -> Iterator[Path]:
    """A hidden name for what will be at `path`; nothing of it stays."""
    name = hidden(path)
    try:
        yield name
    finally:
        with contextlib.suppress(OSError):
            name.unlink(missing_ok=True)


def write(path: Path, content: bytes, *, durable: bool) -> None:
    """Writes a new file, and its folder if there is none; synced if `durable`."""
    try:
        file = path.open("wb")
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("wb")
    with file:
        file.write(content)
        file.flush()
        if durable:
            os.fsync(file.fileno())


def remove(path: Path) -> None:
    """Removes a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        # Another process may be removing the same folder.
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def walk(top: Path, root: Path) -> list[str]:
    """Names, below `root`, of the files below `top` that are not hidden."""
    names: list[str] = []
    for where, folders, files in os.walk(top, onerror=_raise):
        folders[:] = [f for f in folders if not f.startswith(".")]
        base = Path(where).relative_to(root)
        names += [(base / f).as_posix() for f in files if not f.startswith(".")]
    return sorted(names)


def leftovers(top: Path, root: Path) -> list[str]:
    """Names, below `root`, of what writes that were cut off have left below `top`."""
    names: list[str] = []
    for where, folders, files in os.walk(top, onerror=_raise):
        base = Path(where).relative_to(root)
        left = [n for n in (*folders, *files) if HIDDEN.fullmatch(n)]
        names += [(base / n).as_posix() for n in left]
        folders[:] = [f for f in folders if f not in left]
    return sorted(names)


def _raise(error: OSError) -> None:
    """A folder that went meanwhile has no files; any other fault is one."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def sync_folder(folder: Path) -> None:
    """Makes the new name itself durable, where folders can be synced."""
    if os.name == "posix":
        sync(folder)


def sync(path: Path) -> None:
    """Makes the content of a file or folder durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
