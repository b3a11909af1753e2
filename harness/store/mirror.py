"""A local copy of a store that lies elsewhere, for fits and figures."""

from __future__ import annotations

from pathlib import Path

from harness.store.files import LocalFiles
from harness.store.read import MARKER, RUNS, SWEEP, Store

TABLES = ("sweeps", "records", "metrics")


def fetch(store: Store, folder: Path) -> None:
    """Copies what is published; files that never change are copied once."""
    here = LocalFiles(folder)
    for part in TABLES:
        had = set(here.names(part))
        for name in store.files.names(part):
            if name not in had:
                here.publish_once(f"{part}/{name}", store.files.read(f"{part}/{name}"))
    here.publish_once(MARKER, store.files.read(MARKER))
    for name in filter(store.files.exists, (SWEEP, RUNS)):
        content = store.files.read(name)
        if not here.exists(name) or here.read(name) != content:
            here.publish(name, content)
