"""The files of a lease, by their names: claims, heartbeats and releases of a trunk."""

from __future__ import annotations

import dataclasses
import re

from harness.store.read import Store

LEASE_FILE = re.compile(r"(claim|beat|release)-(\d{6})\.json")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LeaseFiles:
    """The newest generation of a trunk, and which of its files are there."""

    generation: int
    has_heartbeat: bool
    released: bool


def lease_files(store: Store, trunk_id: str, known: int = 0) -> LeaseFiles:
    """The lease files in a trunk's folder.

    `known` is a generation that was met before. Where the listing does not have it, it
    is asked for by name: listings of network file systems can be seconds behind.
    """
    matches = map(LEASE_FILE.fullmatch, store.files.names(f"work/{trunk_id}"))
    present = {(match[1], int(match[2])) for match in matches if match}
    newest = max((n for kind, n in present if kind == "claim"), default=0)
    if newest < known and store.files.exists(lease_file(trunk_id, "claim", known)):
        newest = known
        present |= {
            (kind, known)
            for kind in ("beat", "release")
            if store.files.exists(lease_file(trunk_id, kind, known))
        }
    return LeaseFiles(
        generation=newest,
        has_heartbeat=("beat", newest) in present,
        released=("release", newest) in present,
    )


def lease_file(trunk_id: str, kind: str, generation: int) -> str:
    """The name of a file of a trunk's lease."""
    return f"work/{trunk_id}/{kind}-{generation:06d}.json"
