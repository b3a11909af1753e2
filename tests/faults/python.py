"""Faults of the calls that the store makes of the operating system, in this process."""

import errno
import fnmatch
import os
import time


def fail(
    monkeypatch, call, number, *, path="*", count=1, after=False, module=os, delay=0.0
):
    """Has calls of a function fail with an error number; returns the list of hits.

    Args:
        call: the function's name; its last path is compared with `path`.
        count: how many calls fail; None for all.
        after: whether the call succeeds first, and fails all the same.
    """
    real, hits = getattr(module, call), []

    def faulty(*args, **kwargs):
        paths = [str(a) for a in args if isinstance(a, str | os.PathLike)]
        name = paths[-1] if paths else ""
        if (count is None or len(hits) < count) and fnmatch.fnmatch(name, path):
            hits.append(name)
            time.sleep(delay)
            if after:
                real(*args, **kwargs)
            raise OSError(number, os.strerror(number), name)
        return real(*args, **kwargs)

    monkeypatch.setattr(module, call, faulty)
    return hits


def late_listings(monkeypatch, seconds, path="*"):
    """Names appear in listings so long after their files were made."""
    real, hidden = os.listdir, []

    def late(folder="."):
        names, now = [], time.time()
        for name in real(folder):
            try:
                age = now - os.lstat(os.path.join(folder, name)).st_ctime
            except FileNotFoundError:
                continue
            if age < seconds and fnmatch.fnmatch(name, path):
                hidden.append(name)
            else:
                names.append(name)
        return names

    monkeypatch.setattr(os, "listdir", late)
    return hidden


TRANSIENT = [
    errno.ESTALE,
    errno.EIO,
    errno.EAGAIN,
    errno.EINTR,
    errno.ETIMEDOUT,
    errno.EBUSY,
]
FINAL = {
    errno.EACCES: "Permission denied",
    errno.EROFS: "Read-only file system",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
}
