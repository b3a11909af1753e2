"""Who trains what: leases on trunks, held by nothing but files.

A claim is a file created exclusively, `work/<trunk_id>/claim-<epoch>.json`: of all who
try for an epoch exactly one has it. Its holder publishes a beat every few seconds. A
watcher who sees a beat stand still for the time that the claim itself names, on the
watcher's own monotonic clock, may claim the next epoch; a process of the same machine
that is gone is seen at once. A holder that finds a higher epoch, or its own claim gone,
has lost the trunk and steps aside. So a lease is never given to two by mistake of a
clock, and should one wake up too late, what it publishes has been published already.

    free ── claim e ──▶ held ── release e ──▶ free
                          └─ beat e stands still, or its process is gone ──▶ claim e+1
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness.store import schema
from harness.store.read import Store
from harness.store.write import now
from harness.sweeps.options import Terms

MARK = re.compile(r"(claim|beat|release)-(\d{6})\.json")


class LeaseLost(Exception):  # noqa: N818 - no error: another worker has the trunk now
    """Another worker holds the trunk: stop, and publish nothing more of it."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class WorkerId:
    """Which worker this is: for people, and to tell whether its process still runs."""

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


@dataclasses.dataclass(frozen=True, slots=True)
class LeaseFiles:
    """The newest epoch of a trunk, and which of its files are there."""

    epoch: int
    beats: bool
    released: bool


def marks(store: Store, trunk_id: str) -> LeaseFiles:
    """What the trunk's folder says."""
    found = {
        (m[1], int(m[2])) for m in map(MARK.fullmatch, _names(store, trunk_id)) if m
    }
    epoch = max((e for kind, e in found if kind == "claim"), default=0)
    return LeaseFiles(epoch, ("beat", epoch) in found, ("release", epoch) in found)


class Leases:
    """One worker's view of the leases: it claims, and remembers the beats it saw."""

    def __init__(
        self,
        store: Store,
        *,
        worker: WorkerId | None = None,
        terms: Terms | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.worker = worker or WorkerId.mine()
        self.terms = terms or Terms()
        self._clock = clock
        self._seen: dict[str, tuple[object, float]] = {}
        """Last sign of life of a trunk's holder, and when it was first seen."""

    def claim(self, trunk_id: str, population: Sequence[str] = ()) -> Lease | None:
        """The lease of a trunk that is free or abandoned; None if another holds it.

        `population` names the trunks that will be trained side by side with it.
        """
        here = marks(self.store, trunk_id)
        abandoned = False
        if here.epoch and not here.released:
            abandoned = self._abandoned(trunk_id, here)
            if not abandoned:
                return None
        claim = dataclasses.asdict(self.worker) | dataclasses.asdict(self.terms)
        claim |= {"time": now(), "trunks": list(population or [trunk_id])}
        content = schema.json_bytes(claim)
        name = _mark(trunk_id, "claim", here.epoch + 1)
        if not self.store.files.publish_once(name, content):
            return None
        self._seen.pop(trunk_id, None)
        return Lease(self, trunk_id, here.epoch + 1, took_over=abandoned)

    def _abandoned(self, trunk_id: str, here: LeaseFiles) -> bool:
        claim = _json(self.store, _mark(trunk_id, "claim", here.epoch))
        if is_gone(claim):
            return True
        beat = (
            _json(self.store, _mark(trunk_id, "beat", here.epoch)) if here.beats else {}
        )
        sign = (here.epoch, beat.get("counter"))
        before, since = self._seen.get(trunk_id, (None, 0.0))
        if sign != before:
            self._seen[trunk_id] = (sign, self._clock())
            return False
        return self._clock() - since > stale_after(claim)


class Lease:
    """A trunk held by this worker."""

    def __init__(
        self, leases: Leases, trunk_id: str, epoch: int, *, took_over: bool
    ) -> None:
        self.store, self.trunk_id, self.epoch = leases.store, trunk_id, epoch
        self.took_over = took_over
        """Whether the holder before vanished without a word."""
        self.beat_s = leases.terms.beat_s
        self._counter = 0
        self._lost = False

    def check(self) -> None:
        """Raises `LeaseLost` if the trunk has gone to another worker."""
        if not self._lost:
            here = marks(self.store, self.trunk_id)
            self._lost = here.epoch != self.epoch or here.released
        if self._lost:
            raise LeaseLost

    def beat(self, position: dict[str, Any]) -> None:
        """Publishes a sign of life with what the worker is doing."""
        self._counter += 1
        beat = position | {"counter": self._counter, "time": now()}
        name = _mark(self.trunk_id, "beat", self.epoch)
        # Not synced: a beat that a power cut takes away was of a dead worker.
        self.store.files.publish(name, schema.json_bytes(beat), durable=False)

    def release(self, reason: str) -> None:
        """Lets others have the trunk at once."""
        name = _mark(self.trunk_id, "release", self.epoch)
        self.store.files.publish_once(name, schema.json_bytes({"reason": reason}))

    def delete(self) -> None:
        """Removes the trunk's folder: its runs are all published."""
        self.store.files.remove(f"work/{self.trunk_id}")

    @property
    def lost(self) -> bool:
        """What the last look said; costs nothing."""
        return self._lost


def holder(store: Store, trunk_id: str, here: LeaseFiles) -> dict[str, Any]:
    """The claim and the last beat of a trunk's newest epoch, as one dict."""
    claim = _json(store, _mark(trunk_id, "claim", here.epoch))
    beat = _json(store, _mark(trunk_id, "beat", here.epoch)) if here.beats else {}
    return claim | beat


def silence(store: Store, trunk_id: str, here: LeaseFiles) -> float:
    """Seconds since the holder's last sign of life, on the store's clock."""
    kind = "beat" if here.beats else "claim"
    return store.files.age(_mark(trunk_id, kind, here.epoch)) or 0.0


def stale_after(claim: dict[str, Any]) -> float:
    """Seconds of silence after which this claim may be taken over."""
    named = claim.get("stale_s")
    # A damaged claim names nothing.
    return float(named) if isinstance(named, int | float) else Terms().stale_s


def is_gone(claim: dict[str, Any]) -> bool:
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


def _names(store: Store, trunk_id: str) -> list[str]:
    return store.files.names(f"work/{trunk_id}")


def _mark(trunk_id: str, kind: str, epoch: int) -> str:
    return f"work/{trunk_id}/{kind}-{epoch:06d}.json"


def _json(store: Store, name: str) -> dict[str, Any]:
    """What a mark holds; nothing if it is missing or damaged, which frees no lease."""
    try:
        value = json.loads(store.files.read(name))
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
