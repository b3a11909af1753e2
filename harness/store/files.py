"""The files of a store: in a folder, or under a prefix of an object store.

Both back ends give the same few promises, and everything above rests on them alone:

- a reader sees a file whole or not at all;
- of several writers of one new name, `publish_once` tells exactly one True;
- `age` is measured on the store's own clock, so that hosts' clocks never meet.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from harness.errors import StoreError

NAME = re.compile(r"\w[\w.+-]*(/\w[\w.+-]*)*", re.ASCII)
"""Names of files below a store's root: no `..`, no hidden part, nothing absolute."""


class Files(Protocol):
    """Named files. Names are relative, with `/` between parts.

    What cannot be read or written raises `StoreError`; a missing file, where one is
    read, `FileNotFoundError`.
    """

    uri: str
    """The folder's path, or the address of the prefix, for people."""

    def read(self, name: str) -> bytes:
        """The whole content."""
        ...

    def exists(self, name: str) -> bool:
        """Whether a file of this name has been published."""
        ...

    def names(self, folder: str) -> list[str]:
        """Last parts of the files and folders in `folder`, sorted; none if missing."""
        ...

    def walk(self, folder: str = "") -> list[str]:
        """Names of all published files below `folder`, sorted."""
        ...

    def age(self, name: str) -> float | None:
        """Seconds since the file was written, on the store's clock; None if missing."""
        ...

    def publish(self, name: str, content: bytes, *, durable: bool = True) -> None:
        """Puts `content` at `name`, replacing what was there."""
        ...

    def publish_once(self, name: str, content: bytes) -> bool:
        """Puts `content` at `name` unless a file is there; says whether it did."""
        ...

    def put_folder(self, local: Path, name: str) -> None:
        """Puts the files of a local folder under `name`; the folder is used up."""
        ...

    def get_folder(self, name: str) -> contextlib.AbstractContextManager[Path]:
        """A local folder with the files under `name`, for the length of a block."""
        ...

    def scratch(self, name: str) -> Path:
        """A new local folder in which to make what `put_folder` will put at `name`."""
        ...

    def move(self, name: str, to: str) -> None:
        """Moves a file or folder."""
        ...

    def remove(self, name: str) -> None:
        """Removes a file or folder; nothing happens if there is none."""
        ...


class LocalFiles:
    """Files in a folder of this machine, or of one that several machines mount.

    Publishing is write, sync, then rename or link: both are one operation of the file
    system.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uri = str(root)

    def path(self, name: str) -> Path:
        """The file's path on this machine."""
        return self.root / checked(name)

    def read(self, name: str) -> bytes:
        path = self.path(name)
        with _told("read", path):
            return path.read_bytes()

    def exists(self, name: str) -> bool:
        path = self.path(name)
        with _told("read", path):
            return path.exists()

    def names(self, folder: str) -> list[str]:
        path = self.path(folder)
        with _told("list", path):
            try:
                return sorted(n for n in os.listdir(path) if not n.startswith("."))
            except (FileNotFoundError, NotADirectoryError):
                return []

    def walk(self, folder: str = "") -> list[str]:
        top = self.path(folder) if folder else self.root
        names: list[str] = []
        for where, folders, files in os.walk(top):
            folders[:] = [f for f in folders if not f.startswith(".")]
            base = Path(where).relative_to(self.root)
            names += [(base / f).as_posix() for f in files if not f.startswith(".")]
        return sorted(names)

    def age(self, name: str) -> float | None:
        path = self.path(name)
        with _told("read", path):
            try:
                return self._now() - path.stat().st_mtime
            except FileNotFoundError:
                return None

    def publish(self, name: str, content: bytes, *, durable: bool = True) -> None:
        path = self.path(name)
        with self._written(path, content, durable) as temporary:
            os.replace(temporary, path)
        if durable:
            _sync_folder(path.parent)

    def publish_once(self, name: str, content: bytes) -> bool:
        path = self.path(name)
        with self._written(path, content, durable=True) as temporary:
            try:
                os.link(temporary, path)
            except FileExistsError:
                # Where the server's reply was lost, the name is this file's already;
                # its own links tell, as another's file may be gone by now.
                if temporary.stat().st_nlink < 2:
                    return False
        _sync_folder(path.parent)
        return True

    def put_folder(self, local: Path, name: str) -> None:
        path = self.path(name)
        with _told("write", path):
            for file in local.rglob("*"):
                _sync(file)
            # Left by a process that died before it could say that this is complete.
            shutil.rmtree(path, ignore_errors=True)
            os.rename(local, path)
            _sync_folder(path.parent)

    @contextlib.contextmanager
    def get_folder(self, name: str) -> Iterator[Path]:
        yield self.path(name)

    def scratch(self, name: str) -> Path:
        path = self.path(name)
        scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        with _told("write", path):
            path.parent.mkdir(parents=True, exist_ok=True)
        return scratch.absolute()

    def move(self, name: str, to: str) -> None:
        target = self.path(to)
        with _told("write", target):
            target.parent.mkdir(parents=True, exist_ok=True)
            os.rename(self.path(name), target)

    def remove(self, name: str) -> None:
        path = self.path(name)
        with _told("remove", path):
            if path.is_dir() and not path.is_symlink():
                # Another process may be removing the same folder.
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _written(self, path: Path, content: bytes, durable: bool) -> Iterator[Path]:
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        try:
            with _told("write", path):
                _write(temporary, content, durable)
                yield temporary
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _now(self) -> float:
        """The clock that stamps the files: on a mounted folder it is another host's."""
        probe = self.root / f".clock.{uuid.uuid4().hex}.tmp"
        try:
            probe.touch()
            return probe.stat().st_mtime
        except OSError:
            return time.time()
        finally:
            with contextlib.suppress(OSError):
                probe.unlink(missing_ok=True)


def checked(name: str) -> str:
    """`name` if it stays inside the store; else raises `StoreError`."""
    if not NAME.fullmatch(name):
        raise StoreError(f"{name!r} is not the name of a file in a results folder")
    return name


def _write(path: Path, content: bytes, durable: bool) -> None:
    try:
        file = path.open("xb")
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("xb")
    with file:
        file.write(content)
        file.flush()
        if durable:
            os.fsync(file.fileno())


@contextlib.contextmanager
def _told(verb: str, path: Path) -> Iterator[None]:
    """Says which file an operating-system error is about."""
    try:
        yield
    except OSError as error:
        if verb == "read" and isinstance(error, FileNotFoundError):
            raise
        reason = error.strerror or str(error)
        # `link` on file systems that have none: FAT, and some mounted object stores.
        if (
            error.errno in (errno.EPERM, errno.ENOTSUP, errno.EMLINK)
            and verb == "write"
        ):
            reason += " (a results folder needs a file system with hard links)"
        raise StoreError(f"cannot {verb} {path}: {reason}") from error


def _sync_folder(folder: Path) -> None:
    """Makes the new name itself durable, where folders can be synced."""
    if os.name == "posix":
        _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
