"""Leases held together: of the trunks that are trained side by side."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from harness.errors import StoreError
from harness.store.leases import Lease, LeaseLost, Leases, holder, marks
from harness.store.read import Store


class LeaseSet:
    """The leases of trunks that are trained side by side; often it is one."""

    def __init__(self, leases: Sequence[Lease]) -> None:
        self.leases = tuple(leases)

    @property
    def took_over(self) -> list[str]:
        """Trunks whose holder before vanished without a word."""
        return [lease.trunk_id for lease in self.leases if lease.took_over]

    @property
    def lost(self) -> bool:
        """What the last look said; costs nothing."""
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
    def beating(self, doing: Callable[[str], dict[str, Any]]) -> Iterator[None]:
        """Beats in a thread while the block runs, and looks whether the leases hold.

        `doing(trunk_id)` is what a beat tells.
        """
        stopped = threading.Event()

        def run() -> None:
            while not stopped.wait(self.leases[0].beat_s):
                # A store that cannot be reached now may be reached at the next beat;
                # if it never is, the worker's own publishing says so.
                with contextlib.suppress(StoreError, LeaseLost):
                    for lease in self.leases:
                        lease.check()
                        lease.beat(doing(lease.trunk_id))

        thread = threading.Thread(target=run, daemon=True, name="beat")
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
    here = marks(store, trunk_id)
    named = holder(store, trunk_id, here).get("trunks") if here.epoch else None
    if isinstance(named, list) and trunk_id in named:
        return [str(name) for name in named]
    return [trunk_id]
