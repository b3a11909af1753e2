"""The files of a store: in a folder, or under a prefix of an object store.

Both back ends give the same few promises, and everything above rests on them alone:

- a reader sees a file whole or not at all;
- of several writers of one new name, `publish_once` tells exactly one True;
- `age` is measured on the store's own clock, so that hosts' clocks never meet.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from harness.errors import StoreError
from harness.store import disk
from harness.store.exclusive import REFUSED, Way, best_way, create, link
from harness.store.faults import Faults
from harness.store.regular import read_regular

NAME = re.compile(r"\w[\w.+-]*(/\w[\w.+-]*)*", re.ASCII)
"""Names of files below a store's root: no `..`, no hidden part, nothing absolute."""
WORK = "work"
"""The folder of what is unfinished: its files are claims more than content."""


class Files(Protocol):
    """Named files. Names are relative, with `/` between parts.

    What cannot be read or written raises `StoreError`, and `UnreachableError` if it was
    tried for long; a missing file, where one is read, `FileNotFoundError`.
    """

    uri: str
    """The folder's path, or the address of the prefix, for people."""
    faults: Faults
    """The faults met so far, and the patience with them."""
    exclusive: Way
    """How names are taken on a disk; an object store has one way only."""

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

    def remove_files(self, names: Sequence[str]) -> None:
        """Removes files, those of them that are there."""
        ...

    def leftovers(self, folder: str = "") -> list[str]:
        """Hidden files and folders of writes that were cut off, below `folder`."""
        ...

    def clear(self, folder: str) -> None:
        """Removes the leftovers below `folder`."""
        ...


class LocalFiles:
    """Files in a folder of this machine, or of one that several machines mount.

    Publishing is write, sync, then rename or link: both are one operation of the file
    system.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uri = str(root)
        self.faults = Faults()
        self.exclusive: Way = "link"

    def choose_way(self) -> None:
        """Finds how names can be taken here; for a store that is being made."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.exclusive = best_way(self.root)

    def path(self, name: str) -> Path:
        """The file's path on this machine."""
        return self.root / checked(name)

    def read(self, name: str) -> bytes:
        path = self.path(name)
        return self.faults.call("read", path, lambda: read_regular(path, self.root))

    def exists(self, name: str) -> bool:
        path = self.path(name)
        return self.faults.call("read", path, lambda: self._is_visible(path, name))

    def names(self, folder: str) -> list[str]:
        path = self.path(folder)

        def listing() -> list[str]:
            try:
                names = [n for n in os.listdir(path) if not n.startswith(".")]
            except (FileNotFoundError, NotADirectoryError):
                return []
            return sorted(n for n in names if self._is_shown(path / n, folder))

        return self.faults.call("list", path, listing)

    def walk(self, folder: str = "") -> list[str]:
        top = self.path(folder) if folder else self.root
        return self.faults.call("list", top, lambda: disk.walk(top, self.root))

    def age(self, name: str) -> float | None:
        path = self.path(name)

        def age() -> float | None:
            try:
                return self._now() - os.lstat(path).st_mtime
            except FileNotFoundError:
                return None

        return self.faults.call("read", path, age)

    def publish(self, name: str, content: bytes, *, durable: bool = True) -> None:
        path = self.path(name)

        def put() -> None:
            with disk.temporary(path) as temporary:
                disk.write(temporary, content, durable=durable)
                os.replace(temporary, path)
            if durable:
                disk.sync_folder(path.parent)

        self.faults.call("write", path, put)

    def publish_once(self, name: str, content: bytes) -> bool:
        path = self.path(name)
        with disk.temporary(path) as temporary:
            self.faults.call(
                "write", path, lambda: disk.write(temporary, content, durable=True)
            )
            if not self._created(temporary, path, name, content):
                return False
        self.faults.call("write", path, lambda: disk.sync_folder(path.parent))
        return True

    def _created(self, temporary: Path, path: Path, name: str, content: bytes) -> bool:
        """Puts a written file at a new name, in the way of this store."""
        if self.exclusive == "create":
            adopt = name.partition("/")[0] != WORK
            return self.faults.call(
                "write", path, lambda: create(temporary, path, content, adopt=adopt)
            )
        try:
            # A refusal of a moment must not end a sweep.
            return self.faults.call(
                "write", path, lambda: link(temporary, path), also=REFUSED
            )
        except StoreError as error:
            if getattr(error.__cause__, "errno", None) in REFUSED:
                hint = "this results folder needs a file system with hard links"
                raise type(error)(f"{error}; {hint}") from error.__cause__
            raise

    def put_folder(self, local: Path, name: str) -> None:
        path = self.path(name)

        def put() -> None:
            if not local.exists() and path.exists():
                # It was moved, and only the answer was lost.
                disk.sync_folder(path.parent)
                return
            for file in local.rglob("*"):
                disk.sync(file)
            # Left by a process that died before it could say that this is complete.
            shutil.rmtree(path, ignore_errors=True)
            os.rename(local, path)
            disk.sync_folder(path.parent)

        self.faults.call("write", path, put)

    @contextlib.contextmanager
    def get_folder(self, name: str) -> Iterator[Path]:
        yield self.path(name)

    def scratch(self, name: str) -> Path:
        path = self.path(name)
        self.faults.call(
            "write", path, lambda: path.parent.mkdir(parents=True, exist_ok=True)
        )
        return disk.hidden(path).absolute()

    def leftovers(self, folder: str = "") -> list[str]:
        top = self.path(folder) if folder else self.root
        return self.faults.call("list", top, lambda: disk.leftovers(top, self.root))

    def clear(self, folder: str) -> None:
        for name in self.leftovers(folder):
            disk.remove(self.root / name)

    def move(self, name: str, to: str) -> None:
        source, target = self.path(name), self.path(to)

        def move() -> None:
            if not os.path.lexists(source) and os.path.lexists(target):
                return
            target.parent.mkdir(parents=True, exist_ok=True)
            os.rename(source, target)

        self.faults.call("write", target, move)

    def remove(self, name: str) -> None:
        path = self.path(name)
        self.faults.call("remove", path, lambda: disk.remove(path))

    def remove_files(self, names: Sequence[str]) -> None:
        for name in names:
            self.remove(name)

    def _is_visible(self, path: Path, name: str) -> bool:
        try:
            # A link that leads nowhere is a file too: a damaged one.
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return self._is_shown(path, name)

    def _is_shown(self, path: Path, name: str) -> bool:
        """Whether a file is there whole: without links an empty one may yet be made."""
        if self.exclusive == "link" or name.partition("/")[0] == WORK:
            return True
        try:
            facts = os.lstat(path)
        except FileNotFoundError:
            return False
        return not stat.S_ISREG(facts.st_mode) or facts.st_size > 0

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
