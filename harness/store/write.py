"""Writing a store. Every file is published whole; the record of a run comes last."""

from __future__ import annotations

import datetime
import hashlib
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import StoreError
from harness.store import schema
from harness.store.read import (
    MARKER,
    SWEEP,
    Store,
    files_at,
    metrics_name,
    open_store,
    record_name,
)


def create_store(where: str | Path) -> Store:
    """Opens the store at `where`, making it if there is none."""
    if os.path.exists(where) and not os.path.isdir(where):
        raise StoreError(f"{where} is a file, not a folder for results")
    files = files_at(where)
    if not files.exists(MARKER):
        files.publish_once(MARKER, schema.json_bytes({"format": schema.FORMAT}))
    return open_store(where)


def add_sweep(store: Store, sweep: Mapping[str, Any]) -> None:
    """Freezes a sweep's expansion under its id, once, and makes it the newest.

    Its `doc` is no part of the expansion: a better text replaces the one before.
    """
    frozen = {key: value for key, value in sweep.items() if key != "doc"}
    name = f"sweeps/{sweep['sweep_id']}.json"
    if not store.files.exists(name):
        stamped = {**frozen, "created": now()}
        store.files.publish_once(name, schema.with_checksum(stamped, indent=None))
    newest = {key: sweep.get(key, "") for key in ("name", "doc", "sweep_id")}
    content = schema.with_checksum(newest)
    if not store.files.exists(SWEEP) or store.files.read(SWEEP) != content:
        store.files.publish(SWEEP, content)


def add_metrics(
    store: Store, run_id: str, rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Publishes a run's long rows; returns their checksum and count for its record.

    A metrics file is never replaced. One that is there was left by an attempt which
    ended before its record, and holds the same numbers: it is kept if it is sound, and
    else put aside.
    """
    name = metrics_name(run_id)
    table = schema.metrics_table(rows)
    content = schema.parquet_bytes(table, run_id=run_id)
    if not store.files.publish_once(name, content):
        content = store.files.read(name)
        try:
            table = schema.read_parquet(content, name)
        except StoreError:
            quarantine(store, name)
            return add_metrics(store, run_id, rows)
    return {"sha256": hashlib.sha256(content).hexdigest(), "rows": table.num_rows}


def add_record(store: Store, record: Mapping[str, Any]) -> bool:
    """Publishes a run's record, which makes it done.

    Returns False, and changes nothing, if the run was published before.
    """
    name = record_name(record["run_id"])
    return store.files.publish_once(name, schema.with_checksum(record))


def quarantine(store: Store, name: str) -> str:
    """Moves a file out of the way, never over another; returns where it went."""
    to = f"quarantine/{name}.{uuid.uuid4().hex[:8]}"
    store.files.move(name, to)
    return to


def now() -> str:
    """UTC, ISO 8601 with microseconds, so that it sorts."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
