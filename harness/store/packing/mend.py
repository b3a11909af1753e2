"""What `harness doctor` looks at in packs, and how it mends them.

Nothing that is sound is lost: the sound runs of a damaged pack go into another one, and
an index that cannot be read is made anew from the packs.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Iterator
from typing import NamedTuple

import pyarrow as pa

from harness.errors import StoreError
from harness.specs.canonical import JsonObject
from harness.store import schema
from harness.store.packing.writer import FinishedRun, PackWriter, pack_names, split
from harness.store.packs import (
    PACKED,
    Index,
    IndexRow,
    Pack,
    describe,
    index_bytes,
    index_name,
    metrics_file,
    newest,
    number_of,
    open_pack,
    records_file,
)
from harness.store.read import Store, sealed_object


def check_pack(store: Store, index: Index, name: str) -> list[JsonObject]:
    """The records of a pack. Raises `StoreError` if it is not what the index says."""
    facts = index.packs[name]
    for file, expected in (
        (records_file(name), facts.records_sha256),
        (metrics_file(name), facts.metrics_sha256),
    ):
        try:
            content = store.files.read(file)
        except FileNotFoundError:
            raise StoreError(f"{file} is missing") from None
        if hashlib.sha256(content).hexdigest() != expected:
            raise StoreError(f"{file} does not have the checksum in its index")
    found = [sound.record for sound in sound_runs(store, name)]
    if lost := index.runs_in(name) ^ {record["run_id"] for record in found}:
        raise StoreError(f"{len(lost)} of its runs are not sound")
    return found


class SoundRun(NamedTuple):
    """A run that can be read whole, its record, and the row group that it is in."""

    run: FinishedRun
    record: JsonObject
    group: int


def sound_runs(store: Store, name: str) -> Iterator[SoundRun]:
    """The runs of a pack that can be read whole."""
    opened = []
    for file in (records_file(name), metrics_file(name)):
        try:
            opened.append(open_pack(store.files.read(file), file))
        except (StoreError, FileNotFoundError):
            return
    for group in range(min(file.num_row_groups for file in opened)):
        with contextlib.suppress(StoreError), schema.damage_named(name):
            records, metrics = (file.read_row_group(group) for file in opened)
            yield from _sound(store, group, records, metrics)


def _sound(
    store: Store, group: int, records: pa.Table, metrics: pa.Table
) -> Iterator[SoundRun]:
    for run_id, text, rows in split(records, metrics):
        try:
            record = sealed_object(text.encode(), f"the record of {run_id}", store.uri)
        except StoreError:
            continue
        stamp = record.get("metrics")
        expected = stamp.get("rows") if isinstance(stamp, dict) else None
        if record.get("run_id") == run_id and rows.num_rows == expected:
            status = str(record.get("status"))
            yield SoundRun(FinishedRun(run_id, status, text, rows), record, group)


def rewrite(store: Store, name: str, without: Collection[str] = ()) -> set[str]:
    """Puts the sound runs of a pack into another one; returns those that are lost.

    Raises `StoreError` if a packer changes the store meanwhile.
    """
    index = store.packs.current()
    writer = PackWriter(store, index)
    writer.drop(name)
    sound = [one.run for one in sound_runs(store, name)]
    kept = [run for run in sound if run.run_id not in without]
    writer.add(kept)
    if not writer.commit():
        raise StoreError(f"{store.uri} was packed meanwhile; look again")
    return index.runs_in(name) - {run.run_id for run in kept}


def rebuild_index(store: Store) -> int:
    """Writes an index of all packs that are there; returns how many runs they have.

    A run that is in two packs is taken from the later one.
    """
    rows: dict[str, IndexRow] = {}
    packs: dict[str, Pack] = {}
    names = sorted(pack_names(store))
    for name in names:
        sound = list(sound_runs(store, name))
        if sound:
            contents = (store.files.read(f(name)) for f in (records_file, metrics_file))
            packs[name] = describe(len(sound), *contents)
        for run, _, group in sound:
            rows[run.run_id] = IndexRow(run.run_id, run.status, name, group)
    named = {row.pack for row in rows.values()}
    content = index_bytes(rows.values(), {n: packs[n] for n in packs.keys() & named})
    present = [newest(store.files.names(PACKED)), *map(number_of, names)]
    store.files.publish_once(index_name(1 + max(present)), content)
    return len(rows)
