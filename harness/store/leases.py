"""Leases on trunks, which say who trains what, held by nothing but files.

A claim is a file created exclusively, `work/<trunk_id>/claim-<n>.json`: of all who
try for generation n exactly one has it. Its holder publishes a heartbeat every few
seconds. A watcher who sees it stand still for the time that the claim itself names, on
the watcher's own monotonic clock, may claim the next generation; a process of the same
machine that is gone is seen at once. A holder that finds a higher generation, or its
own claim gone, has lost the trunk and steps aside. So a lease is never given to two by
mistake of a clock, and should one wake up too late, what it publishes has been
published already.

    free ── claim n ──▶ held ── release n ──▶ free
                          └─ heartbeat n stands still, or its process is gone
                             ──▶ claim n+1
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from harness.errors import StoreError
from harness.specs.canonical import JsonObject
from harness.store.faults import is_full
from harness.store.identity import WorkerId, is_gone
from harness.store.lease_files import LeaseFiles, lease_file, lease_files
from harness.store.read import Store
from harness.store.schema import json_bytes
from harness.store.write import now
from harness.sweeps.options import Terms

LONGEST_STALE_S = 7 * 24 * 3600.0
"""A claim that names a longer silence is damaged."""


class LeaseLost(Exception):  # noqa: N818 - no error: another worker has the trunk now
    """Another worker holds the trunk: stop, and publish nothing more of it."""


class Leases:
    """One worker's view of the leases: its claims, and the heartbeats it has seen."""

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
        self._known: dict[str, int] = {}
        """The newest generation that this worker has met itself."""

    def claim(self, trunk_id: str, population: Sequence[str] = ()) -> Lease | None:
        """The lease of a trunk that is free or abandoned; None if another holds it.

        `population` names the trunks that will be trained side by side with it.
        """
        files = lease_files(self.store, trunk_id, self._known.get(trunk_id, 0))
        abandoned = started = False
        if files.generation and not files.released:
            abandoned = self._abandoned(trunk_id, files)
            if not abandoned:
                return None
            started = files.has_heartbeat
        claim = dataclasses.asdict(self.worker) | dataclasses.asdict(self.terms)
        claim |= {"time": now(), "trunks": list(population or [trunk_id])}
        content = json_bytes(claim)
        name = lease_file(trunk_id, "claim", files.generation + 1)
        mine = self.store.files.publish_once(name, content)
        # A listing may be behind: this name is there, whatever it says.
        self._known[trunk_id] = files.generation + 1
        if not mine:
            return None
        self._seen.pop(trunk_id, None)
        return Lease(
            self, trunk_id, files.generation + 1, took_over=abandoned, begun=started
        )

    def _abandoned(self, trunk_id: str, files: LeaseFiles) -> bool:
        claim = self.store.claim(lease_file(trunk_id, "claim", files.generation))
        if is_gone(claim):
            return True
        beat = _heartbeat(self.store, trunk_id, files)
        sign = (files.generation, beat.get("counter"))
        before, since = self._seen.get(trunk_id, (None, 0.0))
        if sign != before:
            self._seen[trunk_id] = (sign, self._clock())
            return False
        return self._clock() - since > stale_after(claim)


class Lease:
    """A trunk held by this worker."""

    def __init__(
        self,
        leases: Leases,
        trunk_id: str,
        generation: int,
        *,
        took_over: bool,
        begun: bool,
    ) -> None:
        self.store, self.trunk_id, self.generation = leases.store, trunk_id, generation
        self.took_over = took_over
        """Whether the holder before vanished without a word."""
        self.begun = begun
        """Whether it had begun: one that never did says nothing about the trunk."""
        self.beat_s = leases.terms.beat_s
        self._counter = 0
        self._lost = False

    def check(self) -> None:
        """Raises `LeaseLost` if the trunk has gone to another worker."""
        if not self._lost:
            files = lease_files(self.store, self.trunk_id, self.generation)
            self._lost = files.generation != self.generation or files.released
        if self._lost:
            raise LeaseLost

    def heartbeat(self, position: Mapping[str, object]) -> None:
        """Publishes a sign of life with what the worker is doing."""
        self._counter += 1
        content = {**position, "counter": self._counter, "time": now()}
        content |= {"faults": self.store.files.faults.count}
        name = self._beat_name
        # Not synced: a heartbeat that a power cut takes away was of a dead worker.
        self.store.files.publish(name, json_bytes(content), durable=False)

    def release(self, reason: str) -> None:
        """Lets others have the trunk at once, also where a disk is full."""
        name = lease_file(self.trunk_id, "release", self.generation)
        try:
            self.store.files.publish_once(name, json_bytes({"reason": reason}))
        except StoreError as error:
            if not is_full(error) or not self.store.files.exists(self._beat_name):
                raise
            # Another name for a file takes no room.
            self.store.files.move(self._beat_name, name)

    @property
    def _beat_name(self) -> str:
        return lease_file(self.trunk_id, "beat", self.generation)

    def delete(self) -> None:
        """Removes the trunk's folder: its runs are all published."""
        self.store.files.remove(f"work/{self.trunk_id}")

    @property
    def lost(self) -> bool:
        """Whether the last check found a lease lost; costs nothing."""
        return self._lost


class LeaseSet:
    """The leases of trunks that are trained side by side; often it is one."""

    def __init__(self, leases: Sequence[Lease]) -> None:
        self.leases = tuple(leases)

    @property
    def took_over(self) -> list[str]:
        """Trunks whose holder before had begun and vanished without a word."""
        return [x.trunk_id for x in self.leases if x.took_over and x.begun]

    @property
    def lost(self) -> bool:
        """Whether the last check found a lease lost; costs nothing."""
        return any(lease.lost for lease in self.leases)

    def check(self, trunk_id: str | None = None) -> None:
        """Raises `LeaseLost` if this trunk, or any, has gone to another worker."""
        for lease in self.leases:
            if trunk_id in (None, lease.trunk_id):
                lease.check()

    def release(self, reason: str) -> None:
        """Lets others have at once the trunks that are still held."""
        for lease in self.leases:
            if not lease.lost:
                lease.release(reason)

    def delete(self) -> None:
        """Removes the trunks' folders: their runs are all published."""
        for lease in self.leases:
            lease.delete()

    @contextlib.contextmanager
    def heartbeats(
        self, doing: Callable[[str], Mapping[str, object]]
    ) -> Iterator[None]:
        """Publishes heartbeats in a thread while the block runs, and checks the leases.

        `doing(trunk_id)` is the content of a trunk's heartbeat. The first ones are out
        before the block runs: whoever vanishes without one had not begun.
        """
        for lease in self.leases:
            lease.heartbeat(doing(lease.trunk_id))
        stopped = threading.Event()

        def run() -> None:
            while not stopped.wait(self.leases[0].beat_s):
                # A store that cannot be reached now may be reached the next time; if it
                # never is, the worker's own publishing says so.
                with contextlib.suppress(StoreError, LeaseLost):
                    for lease in self.leases:
                        lease.check()
                        lease.heartbeat(doing(lease.trunk_id))

        thread = threading.Thread(target=run, daemon=True, name="heartbeat")
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()


def claim_all(leases: Leases, trunk_ids: Sequence[str]) -> LeaseSet | None:
    """The leases of all these trunks, or none of them.

    Each claim names them all, so that whoever goes on from their common checkpoint
    trains the same trunks side by side again.
    """
    held: list[Lease] = []
    for trunk_id in trunk_ids:
        lease = leases.claim(trunk_id, trunk_ids)
        if lease is None:
            LeaseSet(held).release("not all of its population were to be had")
            return None
        held.append(lease)
    return LeaseSet(held)


def together(store: Store, trunk_id: str) -> list[str]:
    """The trunks that were trained side by side with one that was begun, in order."""
    files = lease_files(store, trunk_id)
    named = (
        claim_and_heartbeat(store, trunk_id, files).get("trunks")
        if files.generation
        else None
    )
    if isinstance(named, list) and trunk_id in named:
        return [str(name) for name in named]
    return [trunk_id]


def claim_and_heartbeat(store: Store, trunk_id: str, files: LeaseFiles) -> JsonObject:
    """The claim and the last heartbeat of a trunk's newest generation, as one dict."""
    claim = store.claim(lease_file(trunk_id, "claim", files.generation))
    return claim | _heartbeat(store, trunk_id, files)


def silence(store: Store, trunk_id: str, files: LeaseFiles) -> float:
    """Seconds since the holder's last sign of life, on the store's clock."""
    kind = "beat" if files.has_heartbeat else "claim"
    return store.files.age(lease_file(trunk_id, kind, files.generation)) or 0.0


def stale_after(claim: JsonObject) -> float:
    """Seconds of silence after which this claim may be taken over."""
    named = claim.get("stale_s")
    # A damaged claim names nothing, or nonsense that would hold the trunk for ever.
    if isinstance(named, int | float) and 0 < named <= LONGEST_STALE_S:
        return float(named)
    return Terms().stale_s


def _heartbeat(store: Store, trunk_id: str, files: LeaseFiles) -> JsonObject:
    """The last heartbeat of a trunk's newest generation, empty if there is none."""
    if not files.has_heartbeat:
        return {}
    return store.json_or_empty(lease_file(trunk_id, "beat", files.generation))
