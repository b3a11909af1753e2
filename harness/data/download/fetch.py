"""Downloads known data sets into the cache, checked against their hashes.

A data set's folder appears in the cache whole or not at all. What an interrupted
download has brought waits beside it, and the next try goes on from there if the server
can; pooch checks the hash and puts the file in place.
"""

from __future__ import annotations

import logging
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.download.catalog import CATALOG, Remote, Source
from harness.data.files import cache_folder
from harness.data.images.spec import KNOWN
from harness.errors import DataError

if TYPE_CHECKING:
    import requests

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
    source = known(name)
    folder = cache_folder() / name
    if folder.is_dir() and not force:
        return folder
    waiting = cache_folder() / "partial" / name
    waiting.mkdir(parents=True, exist_ok=True)
    try:
        for remote in source.files:
            _download(remote, waiting, progress)
        for remote in source.files:
            _unpack(remote, waiting)
        if folder.exists():
            shutil.rmtree(folder)
        waiting.rename(folder)
    finally:
        # Empty folders only: a part that can be gone on with stays.
        _remove_empty(waiting)
        _remove_empty(waiting.parent)
    return folder


def _remove_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def known(name: str) -> Source:
    """The catalogue's entry. Raises `DataError`."""
    if name not in CATALOG:
        raise DataError(f"no data set {name!r}; known are {', '.join(CATALOG)}")
    return CATALOG[name]


def present() -> dict[str, Path]:
    """The data sets in the cache, those that were imported under a name included."""
    folder = cache_folder()
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return {f.name: f for f in found if f.is_dir() and f.name != "partial"}


def _download(remote: Remote, folder: Path, progress: Progress) -> None:
    import pooch
    import requests

    # Its lines about every file would tear the progress bar.
    pooch.get_logger().setLevel(logging.WARNING)
    part = folder / f"{remote.name}.part"

    def bring(url: str, output_file: str, _: Any) -> None:
        _resume(url, part, remote.name, progress)
        part.replace(output_file)

    problems = []
    for url in remote.urls:
        try:
            pooch.retrieve(
                url,
                known_hash=f"sha256:{remote.sha256}",
                fname=remote.name,
                path=folder,
                downloader=bring,
            )
            return
        except requests.exceptions.RequestException as error:
            problems.append(f"{url}: {_short(error)}")
        except ValueError as error:
            if "hash" not in str(error).lower():
                raise
            problems.append(f"{url} sent a file whose sha256 is not the expected one")
    kept = f"; {part.stat().st_size:,} bytes are kept" if part.exists() else ""
    raise DataError(
        f"{remote.name} could not be fetched ({'; '.join(problems)}){kept}; try again "
        "later, or bring the files yourself and use `harness data import`"
    )


def _resume(url: str, part: Path, name: str, progress: Progress) -> None:
    """Brings `url` into `part`, going on from what is there if the server can."""
    import requests

    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            # Nothing is left to bring; the hash says whether it is the right file.
            return
        answer.raise_for_status()
        going_on = answer.status_code == requests.codes.partial_content
        have = have if going_on else 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        with part.open("ab" if going_on else "wb") as out:
            for block in answer.iter_content(BLOCK):
                out.write(block)
                have += len(block)
                progress(name, have, total)
    if total is not None and have < total:
        raise requests.exceptions.ConnectionError(
            f"cut off after {have:,} of {total:,} bytes"
        )


def _short(error: requests.exceptions.RequestException) -> str:
    answer = error.response
    if answer is not None:
        return f"{answer.status_code} {answer.reason}"
    return " ".join(f"{type(error).__name__}: {error}".split())[:120]


def _unpack(remote: Remote, folder: Path) -> None:
    """Unpacks an archive and removes it."""
    archive = folder / remote.name
    if remote.unpack == "tar":
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    elif remote.unpack == "zip":
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

    Raises:
        DataError: for unknown names, unreadable files and other images.
    """
    from harness.data.images import read
    from harness.data.images.spec import Images

    hashes = {k: known.digest for k, known in KNOWN.items() if known.digest}
    if name not in hashes:
        raise DataError(f"{name!r} cannot be imported; known are {', '.join(hashes)}")
    height, width, channels, classes = KNOWN[name].shape
    spec = Images(
        data=str(folder),
        height=height,
        width=width,
        channels=channels,
        classes=classes,
    )
    digest = read.resolve(spec).digest
    if digest != hashes[name]:
        raise DataError(
            f"the images in {folder} are not those of {name}: their hash is {digest}, "
            f"not {hashes[name]}"
        )
    target = cache_folder() / name
    incoming = cache_folder() / "partial" / f"{name}.import"
    incoming.mkdir(parents=True, exist_ok=True)
    for file in read.files_of(str(folder)):
        shutil.copy(file, incoming / file.name)
    if target.exists():
        shutil.rmtree(target)
    incoming.rename(target)
    _remove_empty(incoming.parent)
    return target
