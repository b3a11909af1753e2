"""Writing a store. Every file is published whole; the record of a run comes last."""

from __future__ import annotations

import contextlib
import datetime
import os
import socket
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import StoreError
from harness.store import schema
from harness.store.publish import publish, publish_once
from harness.store.read import Store, open_store


def create_store(root: Path) -> Store:
    """Opens the store at `root`, making it if there is none."""
    if root.exists() and not root.is_dir():
        raise StoreError(f"{root} is a file, not a folder for results")
    publish_once(root / "_store.json", schema.json_bytes({"format": schema.FORMAT}))
    return open_store(root)


def add_sweep(store: Store, sweep: Mapping[str, Any]) -> None:
    """Freezes a sweep's expansion under its id; the same sweep is written once."""
    stamped = {**sweep, "created": now()}
    path = store.root / "sweeps" / f"{sweep['sweep_id']}.json"
    if not path.exists():
        publish_once(path, schema.json_bytes(stamped, indent=None))
    current = {"sweep_id": sweep["sweep_id"]}
    publish(store.root / "work" / "current.json", schema.json_bytes(current))


def add_run(
    store: Store, record: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]
) -> bool:
    """Publishes a finished run: metrics first, then the record that makes it done.

    Returns False, and changes nothing that counts, if the run was published before.
    """
    run_id = record["run_id"]
    table = schema.metrics_table(metrics)
    content = schema.parquet_bytes(table, run_id=run_id)
    publish(store.metrics_path(run_id), content)
    return publish_once(store.record_path(run_id), schema.json_bytes(record))


def add_failure(store: Store, run_id: str, error: BaseException) -> None:
    """Records a failed attempt with its error in full."""
    lines = traceback.format_exception(error)
    record = {
        "run_id": run_id,
        "time": now(),
        "error": f"{type(error).__name__}: {error}",
        "traceback": "".join(lines),
        "host": socket.gethostname(),
    }
    folder, attempt = store.root / "failures", 1
    while not publish_once(
        folder / f"{run_id}.{attempt:06d}.json", schema.json_bytes(record)
    ):
        attempt += 1


def refresh_runs(store: Store) -> None:
    """Rebuilds `runs.parquet` from the records and the newest sweep's coordinates.

    A damaged record is left out, with a `UserWarning` that names it.
    """
    places: dict[str, dict[str, Any]] = {}
    for sweep in store.sweeps():
        label = {"sweep": sweep["name"], "sweep_id": sweep["sweep_id"]}
        for point in sweep["points"]:
            grid = {f"grid.{k}": v for k, v in point["coords"].items()}
            places[point["run_id"]] = label | grid
    rows = []
    for run_id in sorted(store.finished()):
        try:
            rows.append(store.record(run_id)["row"] | places.get(run_id, {}))
        except (StoreError, KeyError) as error:
            warnings.warn(f"left out of runs.parquet: {error}", stacklevel=2)
    content = schema.parquet_bytes(schema.runs_table(rows))
    # An unchanged view keeps its time, so that what was made from it stays current.
    if not store.runs_path.exists() or store.runs_path.read_bytes() != content:
        publish(store.runs_path, content)


@contextlib.contextmanager
def sole_worker(store: Store) -> Iterator[None]:
    """Holds the store for this process; raises `StoreError` if another one does.

    The lock is the operating system's, so it goes with the process, however that ends.
    """
    path = store.root / "work" / "worker.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from error
    with file:
        _lock(file.fileno(), path)
        file.truncate(0)
        file.write(f"{socket.gethostname()} {os.getpid()}\n")
        file.flush()
        # Nobody else is writing: what a killed process left half written can go.
        for torn in store.root.rglob(".*.tmp"):
            torn.unlink(missing_ok=True)
        yield


def now() -> str:
    """UTC, ISO 8601 with microseconds, so that it sorts."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _lock(handle: int, path: Path) -> None:
    if os.name != "posix":
        return
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = path.read_text().strip() or "another process"
        raise StoreError(
            f"{path.parent.parent} is being trained by {holder}; wait for it to end"
        ) from None
