"""Reads regular files only: whoever can write into a store must not make others hang.

A pipe, a device, a folder or a link that leads out of the store is named, not followed.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from harness.errors import DamagedFileError

KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFDIR: "a folder",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
LARGEST_JSON = 16 * 2**20
LARGEST_SWEEP = 2 * 2**30
"""Most bytes of a JSON file; a sweep of a million runs has about one gigabyte."""
NO_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)


def read_regular(path: Path, root: Path) -> bytes:
    """The content of a regular file below `root`.

    Raises:
        DamagedFileError: It is anything else, or a JSON file of monstrous size.
    """
    real, home = os.path.realpath(path), os.path.realpath(root)
    if os.path.commonpath([real, home]) != home:
        raise DamagedFileError(f"{path} leads out of the results folder, to {real}")
    handle = os.open(real, os.O_RDONLY | NO_WAIT)
    try:
        _check_kind(path, os.fstat(handle))
        with open(handle, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(handle)


def _check_kind(path: Path, facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        kind = KINDS.get(stat.S_IFMT(facts.st_mode), "no file")
        raise DamagedFileError(f"{path} is {kind}, not a regular file")
    check_size(str(path), facts.st_size)


def check_size(name: str, size: int) -> None:
    """Raises `DamagedFileError` if a JSON file is too large to be one of a store."""
    if not name.endswith(".json"):
        return
    most = LARGEST_SWEEP if Path(name).parent.name == "sweeps" else LARGEST_JSON
    if size > most:
        raise DamagedFileError(
            f"{name} has {size:,} bytes; such a file has at most {most:,}"
        )
