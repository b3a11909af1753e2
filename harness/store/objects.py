"""A store on S3-compatible storage, through fsspec.

Objects appear whole by nature. Exclusive creation is a conditional write
(`If-None-Match: *`), which the storage must support: AWS S3, MinIO, Cloudflare R2 and
Ceph do. Credentials and the endpoint come from the usual AWS settings.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from harness.errors import StoreError
from harness.specs.canonical import JsonObject
from harness.store.exclusive import Way
from harness.store.faults import Faults, error_code
from harness.store.files import checked
from harness.store.regular import check_size

T = TypeVar("T")

TIMEOUTS = {"connect_timeout": 10, "read_timeout": 30}
"""Seconds after which a request is given up, and sent again."""
ONCE = {"total_max_attempts": 1, "mode": "standard"}
"""The client sends a request once: `faults` repeats it, and counts that."""
EXISTS = ("PreconditionFailed", "412")


class ObjectFiles:
    """Files under a prefix such as `s3://bucket/sweeps/x`."""

    def __init__(self, uri: str) -> None:
        try:
            import s3fs
        except ImportError as error:
            raise StoreError(
                f"{uri} needs the extra `s3`: pip install 'scaling-harness[s3]'"
            ) from error
        self.uri = uri.rstrip("/")
        self.faults = Faults()
        self.exclusive: Way = "link"
        self._root = self.uri.removeprefix("s3://")
        # Another process's files must be seen at once: nothing may be cached.
        self._fs: Any = s3fs.S3FileSystem(
            use_listings_cache=False,
            skip_instance_cache=True,
            config_kwargs={"retries": ONCE, **TIMEOUTS},
        )
        self._fs.retries = 1

    def read(self, name: str) -> bytes:
        content: bytes = self._call(
            "read", name, lambda: self._fs.cat_file(self._key(name))
        )
        check_size(f"{self.uri}/{name}", len(content))
        return content

    def exists(self, name: str) -> bool:
        return self._info(name) is not None

    def names(self, folder: str) -> list[str]:
        def listing() -> list[str]:
            try:
                keys: list[str] = self._fs.ls(self._key(folder), detail=False)
            except FileNotFoundError:
                return []
            return keys

        keys = self._call("list", folder, listing)
        return sorted(key.rstrip("/").rsplit("/", 1)[1] for key in keys)

    def walk(self, folder: str = "") -> list[str]:
        keys = self._find(folder)
        return sorted(key.removeprefix(f"{self._root}/") for key in keys)

    def age(self, name: str) -> float | None:
        if (written := self._info(name)) is None:
            return None
        # An object written now carries the storage's own time.
        self.publish("work/clock", b"")
        now = self._info("work/clock") or written
        return float((now["LastModified"] - written["LastModified"]).total_seconds())

    def publish(self, name: str, content: bytes, *, durable: bool = True) -> None:
        self._call("write", name, lambda: self._fs.pipe_file(self._key(name), content))

    def publish_once(self, name: str, content: bytes) -> bool:
        return self._call("write", name, lambda: self._create(name, content))

    def _create(self, name: str, content: bytes) -> bool:
        try:
            self._fs.pipe_file(self._key(name), content, mode="create")
        except OSError as error:
            taken = isinstance(error, FileExistsError) or error_code(error) in EXISTS
            if not taken:
                raise
            # Our own write, if its answer was lost and it was sent again.
            return bool(self._fs.cat_file(self._key(name)) == content)
        return True

    def put_folder(self, local: Path, name: str) -> None:
        for file in sorted(p for p in local.rglob("*") if p.is_file()):
            key = f"{self._key(name)}/{file.relative_to(local).as_posix()}"
            self._call("write", name, partial(self._put, file, key))
            file.unlink()

    def _put(self, file: Path, key: str) -> None:
        self._fs.put_file(str(file), key)

    @contextlib.contextmanager
    def get_folder(self, name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as folder:
            for key in self._find(name):
                target = Path(folder) / key.removeprefix(f"{self._key(name)}/")
                target.parent.mkdir(parents=True, exist_ok=True)
                self._call("read", name, partial(self._get, key, target))
            yield Path(folder)

    def _get(self, key: str, target: Path) -> None:
        self._fs.get_file(key, str(target))

    def scratch(self, name: str) -> Path:
        return Path(tempfile.mkdtemp()) / checked(name).rsplit("/", 1)[-1]

    def leftovers(self, folder: str = "") -> list[str]:
        """None: an object appears whole."""
        return []

    def clear(self, folder: str) -> None:
        """Nothing is left of a write that was cut off."""

    def move(self, name: str, to: str) -> None:
        for inner in self.walk(name) or [name]:
            new = checked(to + inner.removeprefix(name))
            self._call("write", to, partial(self._move, inner, new))

    def _move(self, name: str, to: str) -> None:
        try:
            self._fs.copy(self._key(name), self._key(to))
        except FileNotFoundError:
            # It was moved, and only the answer was lost.
            if self._fs.exists(self._key(to)):
                return
            raise
        self._fs.rm_file(self._key(name))

    def remove(self, name: str) -> None:
        def remove() -> None:
            with contextlib.suppress(FileNotFoundError):
                if keys := self._fs.find(self._key(name)):
                    self._fs.rm(keys)

        self._call("remove", name, remove)

    def remove_files(self, names: Sequence[str]) -> None:
        if keys := [self._key(name) for name in names]:
            self._call("remove", names[0], lambda: self._remove_keys(keys))

    def _remove_keys(self, keys: list[str]) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm(keys)

    def _key(self, name: str) -> str:
        return f"{self._root}/{checked(name)}"

    def _find(self, folder: str) -> list[str]:
        top = self._key(folder) if folder else self._root
        keys: list[str] = self._call("list", folder, lambda: self._fs.find(top))
        return keys

    def _info(self, name: str) -> JsonObject | None:
        def info() -> JsonObject | None:
            try:
                facts: JsonObject = self._fs.info(self._key(name))
            except FileNotFoundError:
                return None
            return facts if facts["type"] == "file" else None

        return self._call("read", name, info)

    def _call(self, verb: str, name: str, operation: Callable[[], T]) -> T:
        return self.faults.call(verb, f"{self.uri}/{name}", operation)
