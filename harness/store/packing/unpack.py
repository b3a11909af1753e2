"""`harness unpack`: a results folder written again with a file for each run.

It goes into a new folder: small files that came back into one that is in use could be
taken for those that a packer has yet to remove.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from harness.errors import StoreError
from harness.store import schema
from harness.store.files import LocalFiles
from harness.store.packs import PACKED
from harness.store.read import (
    MARKER,
    Store,
    metrics_name,
    open_store,
    record_name,
)

LEFT_OUT = ("records", "metrics", PACKED, "work", "quarantine")
"""Folders that are written anew, and those of what is not finished."""


def unpack(store: Store, to: Path) -> int:
    """Writes all that is finished in `store` into a new folder; returns how many runs.

    What was being trained is left behind. A run's files have the bytes that they had,
    unless this version of the parquet library writes others: then the record says so.
    """
    if to.exists():
        raise StoreError(f"{to} is there already; name a new folder")
    new = LocalFiles(to)
    finished = store.packs.in_order(store.finished())
    for run_id in finished:
        record, rows = store.record(run_id), store.metrics(run_id)
        content = schema.parquet_bytes(
            rows.replace_schema_metadata(None).combine_chunks(), run_id=run_id
        )
        stamp = {"sha256": hashlib.sha256(content).hexdigest(), "rows": rows.num_rows}
        new.publish_once(metrics_name(run_id), content)
        new.publish_once(
            record_name(run_id), schema.with_checksum(record | {"metrics": stamp})
        )
    for name in store.files.walk():
        if name != MARKER and name.partition("/")[0] not in LEFT_OUT:
            new.publish_once(name, store.files.read(name))
    new.publish_once(MARKER, store.files.read(MARKER))
    return len(open_store(to).finished())
