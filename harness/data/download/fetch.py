"""Downloads of known data sets into the cache, checked against their hashes.

A data set's folder appears in the cache whole or not at all. What an interrupted
download has brought waits beside it, and the next try goes on from there if the server
can.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import requests

from harness.data.catalog import CATALOG, NamedData, RemoteFile, named_images
from harness.data.files import cache_folder
from harness.data.images import read
from harness.data.images.spec import Images
from harness.errors import DataError

Progress = Callable[[str, int, int | None], None]
"""File, bytes so far, bytes in all if the server said."""

BLOCK = 2**16
TIMEOUT_S = 30.0


def fetch(
    name: str, *, force: bool = False, progress: Progress = lambda *_: None
) -> Path:
    """The folder of the data set `name`, downloaded if it is not there yet.

    Raises `DataError` for an unknown name, a download that fails, or a wrong hash.
    """
    files = known(name).files
    folder = cache_folder() / name
    if folder.is_dir() and not force:
        return folder
    incoming = cache_folder() / "partial" / name
    incoming.mkdir(parents=True, exist_ok=True)
    try:
        for file in files:
            _download(file, incoming, progress)
        for file in files:
            _unpack(file, incoming)
        _replace(folder, incoming)
    finally:
        # Empty folders only: a file that can be gone on with stays.
        _remove_empty(incoming)
        _remove_empty(incoming.parent)
    return folder


def _replace(folder: Path, incoming: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    incoming.rename(folder)


def _remove_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def known(name: str) -> NamedData:
    """The catalogue's entry. Raises `DataError`."""
    if name not in CATALOG:
        raise DataError(f"no data set {name!r}; known are {', '.join(CATALOG)}")
    return CATALOG[name]


def present() -> dict[str, Path]:
    """The data sets in the cache, those that were imported under a name included."""
    cache = cache_folder()
    folders = sorted(cache.iterdir()) if cache.is_dir() else []
    return {f.name: f for f in folders if f.is_dir() and f.name != "partial"}


def _download(file: RemoteFile, folder: Path, progress: Progress) -> None:
    """Brings `file` into `folder` from the first address that has the right one."""
    target, part = folder / file.name, folder / f"{file.name}.part"
    if target.exists() and _sha256(target) == file.sha256:
        return
    problems = []
    for url in file.urls:
        try:
            _resume(url, part, file.name, progress)
        except requests.RequestException as error:
            problems.append(f"{url}: {_short(error)}")
            continue
        if _sha256(part) == file.sha256:
            part.replace(target)
            return
        part.unlink()
        problems.append(f"{url} sent a file whose sha256 is not the expected one")
    rest = f"; {part.stat().st_size:,} bytes are kept" if part.exists() else ""
    raise DataError(
        f"{file.name} could not be fetched ({'; '.join(problems)}){rest}; try again "
        "later, or bring the files yourself and use `harness data import`"
    )


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _resume(url: str, part: Path, name: str, progress: Progress) -> None:
    """Brings `url` into `part`, going on from what is there if the server can."""
    size = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={size}-"} if size else {}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            # Nothing is left to bring; the hash says whether it is the right file.
            return
        answer.raise_for_status()
        resumed = answer.status_code == requests.codes.partial_content
        size = size if resumed else 0
        length = answer.headers.get("Content-Length")
        total = size + int(length) if length else None
        with part.open("ab" if resumed else "wb") as out:
            for block in answer.iter_content(BLOCK):
                out.write(block)
                size += len(block)
                progress(name, size, total)
    if total is not None and size < total:
        raise requests.ConnectionError(f"cut off after {size:,} of {total:,} bytes")


def _short(error: requests.RequestException) -> str:
    if error.response is not None:
        return f"{error.response.status_code} {error.response.reason}"
    return " ".join(f"{type(error).__name__}: {error}".split())[:120]


def _unpack(file: RemoteFile, folder: Path) -> None:
    """Unpacks an archive and removes it."""
    archive = folder / file.name
    if file.unpack == "tar":
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    elif file.unpack == "zip":
        with zipfile.ZipFile(archive) as zipped:
            for member in zipped.infolist():
                # Text files without a suffix, as readers of text want them.
                target = folder / f"{Path(member.filename).name}.txt"
                with zipped.open(member) as content, target.open("wb") as out:
                    shutil.copyfileobj(content, out)
    else:
        return
    archive.unlink()


def adopt(name: str, folder: Path) -> Path:
    """Copies image files that are on this machine already into the cache, as `name`.

    For machines that cannot reach the sources. The images must be those of the data
    set: their content hash is checked, whatever files they come in.

    Returns:
        The folder in the cache.

    Raises:
        DataError: for unknown names, unreadable files and other images.
    """
    hashed = {key: entry for key, entry in named_images().items() if entry.digest}
    if name not in hashed:
        raise DataError(f"{name!r} cannot be imported; known are {', '.join(hashed)}")
    height, width, channels, classes = hashed[name].shape
    spec = Images(
        data=str(folder),
        height=height,
        width=width,
        channels=channels,
        classes=classes,
    )
    digest = read.resolve(spec).digest
    if digest != hashed[name].digest:
        raise DataError(
            f"the images in {folder} are not those of {name}: their hash is {digest}, "
            f"not {hashed[name].digest}"
        )
    target = cache_folder() / name
    incoming = cache_folder() / "partial" / f"{name}.import"
    incoming.mkdir(parents=True, exist_ok=True)
    for file in read.files_of(str(folder)):
        shutil.copy(file, incoming / file.name)
    _replace(target, incoming)
    _remove_empty(incoming.parent)
    return target
