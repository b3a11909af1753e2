"""Reading a store. Nothing here writes."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from harness.errors import StoreError

FORMAT_READ = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Store:
    """A results folder."""

    root: Path

    @property
    def runs_path(self) -> Path:
        return self.root / "runs.parquet"

    def metrics_path(self, run_id: str) -> Path:
        return self.root / "metrics" / f"{run_id}.parquet"

    def record_path(self, run_id: str) -> Path:
        return self.root / "records" / f"{run_id}.json"

    def finished(self) -> set[str]:
        """Ids of the finished runs: those whose record exists."""
        return _stems(self.root / "records")

    def record(self, run_id: str) -> dict[str, Any]:
        """The whole record of a finished run. Raises `StoreError` if it is damaged."""
        return read_json(self.record_path(run_id))

    def sweeps(self) -> list[dict[str, Any]]:
        """The sweeps written to this store, the one run last at the end."""
        folder = self.root / "sweeps"
        stems = sorted(_stems(folder))
        found = [read_json(folder / f"{stem}.json") for stem in stems]
        for sweep, stem in zip(found, stems, strict=True):
            if not {"created", "sweep_id", "name", "points"} <= sweep.keys():
                raise StoreError(f"{folder / stem}.json does not hold a sweep")
        current = self._current()
        return sorted(found, key=lambda s: (s["sweep_id"] == current, s["created"]))

    def _current(self) -> str | None:
        """The sweep that was run last, if this is where it was run."""
        path = self.root / "work" / "current.json"
        return read_json(path).get("sweep_id") if path.exists() else None

    def failed_attempts(self, run_id: str) -> int:
        """How often this run has failed."""
        return len(list((self.root / "failures").glob(f"{run_id}.*.json")))

    def failures(self) -> list[dict[str, Any]]:
        """One record per failed attempt, oldest first."""
        folder = self.root / "failures"
        found = [read_json(folder / f"{stem}.json") for stem in _stems(folder)]
        return sorted(found, key=lambda failure: failure["time"])


def open_store(root: Path) -> Store:
    """The store at `root`. Raises `StoreError` if there is none, or a newer format."""
    marker = root / "_store.json"
    if not marker.is_file():
        raise StoreError(f"{root} is not a results folder (it has no _store.json)")
    found = read_json(marker).get("format")
    if not isinstance(found, int) or found > FORMAT_READ:
        raise StoreError(
            f"{root} has store format {found}; this harness reads up to "
            f"{FORMAT_READ}: upgrade it"
        )
    return Store(root)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises `StoreError` that names a missing or damaged file."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise StoreError(f"{path} does not hold a JSON object")
    return value


def _stems(folder: Path) -> set[str]:
    """Names of the published JSON files, without what is still being written."""
    if not folder.is_dir():
        return set()
    names = (entry.name for entry in os.scandir(folder))
    return {n[:-5] for n in names if n.endswith(".json") and not n.startswith(".")}
