"""`runs.parquet`: one wide row per finished run, a view of the records.

It is brought up to date incrementally: rows that the present view has are kept, only
new records are read.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections import defaultdict
from typing import Any

import pyarrow as pa

from harness.errors import StoreError
from harness.store import schema
from harness.store.read import RUNS, Store, points, record_name

PLACE = ("sweep", "sweep_id")
"""With `grid.…`, the columns that tell a run's place in a sweep, not the run."""


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
    """What `runs.parquet` must hold."""
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
    before = _column(present, "run_id") if "run_id" in known else []
    kept = [i for i, run_id in enumerate(before) if run_id in finished]
    new_ids, read = _records(store, finished - set(before))
    run_ids, places = [*(before[i] for i in kept), *new_ids], _places(store)
    order = sorted(range(len(run_ids)), key=run_ids.__getitem__)
    names = {name for name in known if name not in PLACE and name[:5] != "grid."}

    def values(name: str) -> list[Any]:
        new = read.get(name) or [None] * len(new_ids)
        if name in names:
            old = _column(present, name)
            column = [*(old[i] for i in kept), *new]
            return [column[i] for i in order]
        column = [None] * len(kept) + new
        return [places.get(run_ids[i], {}).get(name, column[i]) for i in order]

    others = read.keys() | {
        name for run_id in run_ids for name in places.get(run_id, ())
    }
    return schema.runs_table(names | others, values)


def _column(present: bytes, name: str) -> list[Any]:
    values: list[Any] = schema.read_parquet(present, RUNS, [name])[name].to_pylist()
    return values


def read_runs(store: Store) -> pa.Table | None:
    """The view as it is; None if there is none.

    Raises `StoreError` if it is damaged.
    """
    try:
        return schema.read_parquet(store.files.read(RUNS), f"{store.uri}/{RUNS}")
    except FileNotFoundError:
        return None


def _records(store: Store, run_ids: set[str]) -> tuple[list[str], dict[str, list[Any]]]:
    """Ids and columns of the records that are sound."""
    found: list[str] = []
    columns: defaultdict[str, list[Any]] = defaultdict(list)
    for run_id in run_ids:
        try:
            row = _row(store, run_id)
        except StoreError as error:
            warnings.warn(f"left out of {RUNS}: {error}", stacklevel=3)
            continue
        for name in columns.keys() | row.keys():
            column = columns[name]
            column += [None] * (len(found) - len(column))
            column.append(row.get(name))
        found.append(run_id)
    return found, columns


def _row(store: Store, run_id: str) -> dict[str, Any]:
    """A run's row, checked: what a hand has changed in it must not stop the view."""
    row = store.record(run_id).get("row")
    if not isinstance(row, dict):
        raise StoreError(f"{store.uri}/{record_name(run_id)} holds no row")
    row = {key: _cell(value) for key, value in row.items()}
    for key, value in row.items():
        wanted = schema.RUN_TYPES.get(key)
        try:
            fits = wanted is None or pa.array([value], type=wanted) is not None
        except (pa.ArrowException, TypeError, OverflowError):
            fits = False
        scalar = value is None or isinstance(value, bool | int | float | str)
        if not (fits and scalar) or (isinstance(value, int) and abs(value) >= 2**63):
            raise StoreError(
                f"{store.uri}/{record_name(run_id)} has {key} {str(value)[:40]!r}"
            )
    return row | {"run_id": run_id}


def _cell(value: Any) -> Any:
    """A value as the table holds it: a list of a spec, such as a network's channels, is
    text there."""
    if isinstance(value, str):
        # Thousands of rows share their words.
        return sys.intern(value)
    plain = isinstance(value, list) and all(isinstance(v, int | float) for v in value)
    return json.dumps(value) if plain else value


def _places(store: Store) -> dict[str, dict[str, Any]]:
    """Sweep and coordinates of each run, of the newest sweep that has it."""
    places: dict[str, dict[str, Any]] = {}
    for sweep in store.sweeps():
        label = {"sweep": sweep["name"], "sweep_id": sweep["sweep_id"]}
        for run_id, coords in points(sweep):
            places[run_id] = label | {f"grid.{k}": v for k, v in coords.items()}
    return places
