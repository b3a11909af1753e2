"""A store on S3-compatible storage, through fsspec.

Objects appear whole by nature. Exclusive creation is a conditional write
(`If-None-Match: *`), which the storage must support: AWS S3, MinIO, Cloudflare R2 and
Ceph do. Credentials and the endpoint come from the usual AWS settings.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.errors import StoreError
from harness.specs.canonical import JsonObject
from harness.store.files import checked

TRIES = 5
"""Attempts at a conditional write that the storage calls a conflict."""


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
        self._root = self.uri.removeprefix("s3://")
        # Another process's files must be seen at once: nothing may be cached.
        self._fs: Any = s3fs.S3FileSystem(
            use_listings_cache=False, skip_instance_cache=True
        )

    def read(self, name: str) -> bytes:
        with self._told("read", name):
            content: bytes = self._fs.cat_file(self._key(name))
            return content

    def exists(self, name: str) -> bool:
        with self._told("read", name):
            return self._info(name) is not None

    def names(self, folder: str) -> list[str]:
        with self._told("list", folder):
            try:
                keys = self._fs.ls(self._key(folder), detail=False)
            except FileNotFoundError:
                return []
        return sorted(key.rstrip("/").rsplit("/", 1)[1] for key in keys)

    def walk(self, folder: str = "") -> list[str]:
        top = self._key(folder) if folder else self._root
        with self._told("list", folder):
            keys = self._fs.find(top)
        return sorted(key.removeprefix(f"{self._root}/") for key in keys)

    def age(self, name: str) -> float | None:
        with self._told("read", name):
            if (written := self._info(name)) is None:
                return None
            # An object written now carries the storage's own time.
            self.publish("work/clock", b"")
            now = self._info("work/clock") or written
            age = now["LastModified"] - written["LastModified"]
            return float(age.total_seconds())

    def publish(self, name: str, content: bytes, *, durable: bool = True) -> None:
        with self._told("write", name):
            self._fs.pipe_file(self._key(name), content)

    def publish_once(self, name: str, content: bytes) -> bool:
        with self._told("write", name):
            for attempt in range(TRIES):
                try:
                    self._fs.pipe_file(self._key(name), content, mode="create")
                    return True
                except FileExistsError:
                    # Our own write, if its answer was lost and it was sent again.
                    return bool(self._fs.cat_file(self._key(name)) == content)
                except OSError as error:
                    if "Conflict" not in str(error) or attempt == TRIES - 1:
                        raise
        raise AssertionError("unreachable")

    def put_folder(self, local: Path, name: str) -> None:
        with self._told("write", name):
            for file in sorted(p for p in local.rglob("*") if p.is_file()):
                inner = file.relative_to(local).as_posix()
                self._fs.put_file(str(file), f"{self._key(name)}/{inner}")
                file.unlink()

    @contextlib.contextmanager
    def get_folder(self, name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as folder, self._told("read", name):
            for key in self._fs.find(self._key(name)):
                target = Path(folder) / key.removeprefix(f"{self._key(name)}/")
                target.parent.mkdir(parents=True, exist_ok=True)
                self._fs.get_file(key, str(target))
            yield Path(folder)

    def scratch(self, name: str) -> Path:
        return Path(tempfile.mkdtemp()) / checked(name).rsplit("/", 1)[-1]

    def move(self, name: str, to: str) -> None:
        with self._told("write", to):
            for inner in self.walk(name) or [name]:
                new = checked(to + inner.removeprefix(name))
                self._fs.copy(self._key(inner), self._key(new))
                self._fs.rm_file(self._key(inner))

    def remove(self, name: str) -> None:
        with self._told("remove", name), contextlib.suppress(FileNotFoundError):
            keys = self._fs.find(self._key(name))
            if keys:
                self._fs.rm(keys)

    def _key(self, name: str) -> str:
        return f"{self._root}/{checked(name)}"

    def _info(self, name: str) -> JsonObject | None:
        try:
            info: JsonObject = self._fs.info(self._key(name))
        except FileNotFoundError:
            return None
        return info if info["type"] == "file" else None

    @contextlib.contextmanager
    def _told(self, verb: str, name: str) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        # botocore's errors have no common base with the operating system's.
        except Exception as error:
            if verb == "read" and isinstance(error, FileNotFoundError):
                raise
            reason = " ".join(str(error).split()) or type(error).__name__
            where = f"{self.uri}/{name}"
            raise StoreError(f"cannot {verb} {where}: {reason}") from error
