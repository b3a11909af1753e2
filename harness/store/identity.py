"""The identity of a worker's process, and whether that process still runs."""

from __future__ import annotations

import dataclasses
import functools
import os
import socket
import uuid
from pathlib import Path

from harness.specs.canonical import JsonObject


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class WorkerId:
    """The identity of a worker: for people, and to see whether its process runs."""

    name: str
    host: str
    pid: int
    process: str | None
    """Names the process across the life of the machine, where that can be known."""

    @classmethod
    def mine(cls) -> WorkerId:
        """This process's identity, new with each call."""
        host = socket.gethostname()
        return cls(
            name=f"{host}-{os.getpid()}-{uuid.uuid4().hex[:6]}",
            host=host,
            pid=os.getpid(),
            process=_process(os.getpid()),
        )


def is_gone(claim: JsonObject) -> bool:
    """Whether the holder was a process of this machine that runs no more."""
    process, pid = claim.get("process"), claim.get("pid")
    mine = _process(os.getpid())
    if not (isinstance(process, str) and isinstance(pid, int) and mine):
        return False
    same_machine = process.rsplit(":", 1)[0] == mine.rsplit(":", 1)[0]
    return same_machine and _process(pid) != process


def _process(pid: int) -> str | None:
    """Boot, process namespace and start time of a process; None if it runs no more.

    Known on Linux only; elsewhere a dead worker is told by its silence.
    """
    try:
        machine = _machine()
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The command's name, in brackets, may hold spaces; state is the field after it.
    state, *rest = stat.rpartition(")")[2].split()
    return None if state in "ZX" else f"{machine}:{pid}-{rest[18]}"


@functools.cache
def _machine() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}:{os.readlink('/proc/self/ns/pid')}"
