"""Writing a store: every file is published whole, the record of a run last.

`runs.parquet`, one wide row per finished run, is a view of the records. It is brought
up to date incrementally: rows that the present view has are kept, only new records are
read.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import sys
import uuid
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from harness.errors import StoreError
from harness.specs.canonical import JsonObject
from harness.store import schema
from harness.store.files import LocalFiles
from harness.store.read import (
    MARKER,
    RUNS,
    SWEEP,
    Store,
    files_at,
    metrics_name,
    open_store,
    points,
    record_name,
)

OWN_TYPES = {
    pa.int64(): int,
    pa.float64(): float,
    pa.string(): str,
    pa.bool_(): bool,
}
"""The Python type of the cells of a column."""
PLACE = ("sweep", "sweep_id")
"""With `grid.…`, the columns that tell a run's place in a sweep, not the run."""


def create_store(where: str | Path) -> Store:
    """Opens the store at `where`, making it if there is none."""
    if os.path.exists(where) and not os.path.isdir(where):
        raise StoreError(f"{where} is a file, not a folder for results")
    files = files_at(where)
    if not files.exists(MARKER):
        write_marker(Store(files))
    return open_store(where)


def write_marker(store: Store) -> None:
    """Writes the format of a new store, and how names are taken in it.

    Raises `StoreError` for a storage on which several writers could have one name.
    """
    marker: dict[str, object] = {"format": schema.FORMAT}
    files = store.files
    if isinstance(files, LocalFiles):
        files.faults.call("write", files.root, files.choose_way)
        if files.exclusive != "link":
            marker["exclusive"] = files.exclusive
        files.publish_once(MARKER, schema.json_bytes(marker))
        return
    first = files.publish_once(MARKER, schema.json_bytes(marker))
    if first and files.publish_once(MARKER, b"{}"):
        files.publish(MARKER, schema.json_bytes(marker))
        raise StoreError(
            f"{store.uri}: this storage ignores conditional writes (If-None-Match), so "
            "several workers could train one run; choose another"
        )


def add_sweep(store: Store, sweep: Mapping[str, object]) -> None:
    """Freezes a sweep's expansion under its id, once, and makes it the newest.

    Its `doc` and `promises` are no part of the expansion: better ones replace those
    before.
    """
    frozen = {k: v for k, v in sweep.items() if k not in ("doc", "promises")}
    name = f"sweeps/{sweep['sweep_id']}.json"
    if not store.files.exists(name):
        stamped = {**frozen, "created": now()}
        store.files.publish_once(name, schema.with_checksum(stamped, indent=None))
    keys = ("name", "doc", "promises", "sweep_id", "keep_weights")
    newest = {key: sweep[key] for key in keys if key in sweep}
    content = schema.with_checksum(newest)
    if not store.files.exists(SWEEP) or store.files.read(SWEEP) != content:
        store.files.publish(SWEEP, content)


def add_metrics(
    store: Store, run_id: str, rows: Sequence[Mapping[str, object]]
) -> dict[str, str | int]:
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


def add_record(store: Store, record: Mapping[str, object]) -> bool:
    """Publishes a run's record, which makes it done.

    Returns False, and changes nothing, if the run was published before.
    """
    name = record_name(str(record["run_id"]))
    return store.files.publish_once(name, schema.with_checksum(record))


def quarantine(store: Store, name: str) -> str:
    """Moves a file out of the way, never over another; returns where it went."""
    to = f"quarantine/{name}.{uuid.uuid4().hex[:8]}"
    store.files.move(name, to)
    return to


def now() -> str:
    """The UTC time in ISO 8601 with microseconds, so that it sorts."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def refresh_runs(store: Store, *, anew: bool = False) -> None:
    """Brings `runs.parquet` up to date with the records and the sweeps.

    `anew` reads every record again. A damaged record is left out, with a `UserWarning`
    that names it.
    """
    content = schema.parquet_bytes(view_of(store, anew=anew))
    # An unchanged view keeps its time, so that what was made from it stays current.
    if not store.files.exists(RUNS) or store.files.read(RUNS) != content:
        store.files.publish(RUNS, content)
    # A worker that lives long gives back what its largest table took.
    pa.default_memory_pool().release_unused()


def use_system_memory() -> None:
    """Has this process's tables lie in memory of the system's allocator.

    `refresh_runs` then gives back what the largest took; Arrow's own keeps most of it.
    """
    pa.set_memory_pool(pa.system_memory_pool())


def view_of(store: Store, *, anew: bool = True) -> pa.Table:
    """The content that `runs.parquet` must have."""
    if not anew and store.files.exists(RUNS):
        try:
            return _view(store, store.files.read(RUNS))
        except StoreError:
            # It is only a view: whatever happened to it, the records have everything.
            pass
    return _view(store, b"")


def _view(store: Store, present: bytes) -> pa.Table:
    """The view, from the present one, if any, and the records that it lacks.

    It is read and made column by column: all rows at once, as Python objects or beside
    the old table, would take far more memory than the table.
    """
    finished = store.finished()
    known = schema.parquet_columns(present, RUNS) if present else []
    before = list(map(str, _column(present, "run_id"))) if "run_id" in known else []
    valid = [i for i, run_id in enumerate(before) if run_id in finished]
    new_ids, read = _records(store, finished - set(before))
    run_ids, places = [*(before[i] for i in valid), *new_ids], _places(store)
    order = sorted(range(len(run_ids)), key=run_ids.__getitem__)
    names = {
        name for name in known if name not in PLACE and not name.startswith("grid.")
    }

    def values(name: str) -> list[object]:
        new = read.get(name) or [None] * len(new_ids)
        if name in names:
            old = _column(present, name)
            column = [*(old[i] for i in valid), *new]
            return [column[i] for i in order]
        column = [None] * len(valid) + new
        return [places.get(run_ids[i], {}).get(name, column[i]) for i in order]

    others = read.keys() | {
        name for run_id in run_ids for name in places.get(run_id, ())
    }
    return schema.runs_table(names | others, values)


def _column(present: bytes, name: str) -> list[object]:
    values: list[object] = schema.read_parquet(present, RUNS, [name])[name].to_pylist()
    return values


def _records(
    store: Store, run_ids: set[str]
) -> tuple[list[str], dict[str, list[object]]]:
    """Ids and columns of the records that are sound."""
    sound: list[str] = []
    columns: defaultdict[str, list[object]] = defaultdict(list)
    for run_id in store.packs.in_order(run_ids):
        try:
            row = _row(store, run_id)
        except StoreError as error:
            warnings.warn(f"left out of {RUNS}: {error}", stacklevel=3)
            continue
        for name in columns.keys() | row.keys():
            column = columns[name]
            column += [None] * (len(sound) - len(column))
            column.append(row.get(name))
        sound.append(run_id)
    return sound, columns


def _row(store: Store, run_id: str) -> JsonObject:
    """A run's row, checked: what a hand has changed in it must not stop the view."""
    row = store.record(run_id).get("row")
    if not isinstance(row, dict):
        raise StoreError(f"the record of run {run_id} in {store.uri} holds no row")
    row = {key: _cell(value) for key, value in row.items()}
    for key, value in row.items():
        if not _fits(value, schema.RUN_TYPES.get(key)):
            raise StoreError(
                f"the record of run {run_id} in {store.uri} has {key} "
                f"{str(value)[:40]!r}"
            )
    return row | {"run_id": run_id}


def _fits(value: object, wanted: pa.DataType | None) -> bool:
    """Whether a cell can lie in a column of this type; None for a column of any."""
    if isinstance(value, int) and abs(value) >= 2**63:
        return False
    # Nearly all cells are of their column's own type: no array is made to see that.
    if value is None or type(value) is OWN_TYPES.get(wanted):
        return True
    if not isinstance(value, bool | int | float | str):
        return False
    try:
        return wanted is None or pa.array([value], type=wanted) is not None
    except (pa.ArrowException, TypeError, OverflowError):
        return False


def _cell(value: object) -> object:
    """A value as the table holds it: a list of a spec, such as a network's channels or
    its metrics, is text there."""
    if isinstance(value, str):
        # Thousands of rows share their words.
        return sys.intern(value)
    return json.dumps(value) if isinstance(value, list) else value


def _places(store: Store) -> dict[str, JsonObject]:
    """Sweep and coordinates of each run, of the newest sweep that has it."""
    places: dict[str, JsonObject] = {}
    for sweep in store.sweeps():
        label = {"sweep": sweep["name"], "sweep_id": sweep["sweep_id"]}
        for run_id, coords in points(sweep):
            places[run_id] = label | {f"grid.{k}": v for k, v in coords.items()}
    return places
