"""What `harness doctor` looks at in packs, and how it mends them.

Nothing that is sound is lost: the sound runs of a damaged pack go into another one, and
an index that cannot be read is made anew from the packs.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Collection, Iterator

import pyarrow as pa

from harness.errors import StoreError
from harness.specs.canonical import JsonObject
from harness.store import schema
from harness.store.pack import PLAIN, FinishedRun, PackWriter, indexed, pack_names
from harness.store.packs import (
    PACKED,
    Index,
    Pack,
    index_bytes,
    index_name,
    metrics_file,
    newest,
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
    found = [record for _, record in sound_runs(store, name)]
    wanted = {i for i, (pack, _) in index.places.items() if pack == name}
    if lost := wanted ^ {record["run_id"] for record in found}:
        raise StoreError(f"{len(lost)} of its runs are not sound")
    return found


def sound_runs(store: Store, name: str) -> Iterator[tuple[FinishedRun, JsonObject]]:
    """The runs of a pack that can be read whole, with their records."""
    opened = []
    for file in (records_file(name), metrics_file(name)):
        try:
            opened.append(open_pack(store.files.read(file), file))
        except (StoreError, FileNotFoundError):
            return
    for group in range(min(file.num_row_groups for file in opened)):
        with contextlib.suppress(StoreError), schema.damage_named(name):
            records, metrics = (file.read_row_group(group) for file in opened)
            yield from _sound(store, records.to_pylist(), metrics)


def _sound(
    store: Store, rows: list[JsonObject], metrics: pa.Table
) -> Iterator[tuple[FinishedRun, JsonObject]]:
    ids = metrics["run_id"].to_pylist()
    counts, start = Counter(ids), dict[str, int]()
    for at, run_id in enumerate(ids):
        start.setdefault(run_id, at)
    for row in rows:
        run_id, text = row["run_id"], row["record"]
        try:
            record = sealed_object(text.encode(), f"the record of {run_id}", store.uri)
        except StoreError:
            continue
        stamp = record.get("metrics")
        expected = stamp.get("rows") if isinstance(stamp, dict) else None
        if record.get("run_id") == run_id and counts[run_id] == expected:
            own = metrics.slice(start.get(run_id, 0), counts[run_id])
            status = str(record.get("status"))
            yield FinishedRun(run_id, status, text, own), record


def rewrite(store: Store, name: str, without: Collection[str] = ()) -> set[str]:
    """Puts the sound runs of a pack into another one; returns those that are lost.

    Raises `StoreError` if a packer changes the store meanwhile.
    """
    index = store.packs.current()
    writer = PackWriter(store, index)
    writer.drop(name)
    kept = [run for run, _ in sound_runs(store, name) if run.run_id not in without]
    writer.add(kept)
    if not writer.commit():
        raise StoreError(f"{store.uri} was packed meanwhile; look again")
    wanted = {i for i, (pack, _) in index.places.items() if pack == name}
    return wanted - {run.run_id for run in kept}


def rebuild_index(store: Store) -> int:
    """Writes an index of all packs that are there; returns how many runs they have.

    A run that is in two packs is taken from the later one.
    """
    rows: dict[str, tuple[str, str, str, int]] = {}
    packs: dict[str, Pack] = {}
    for name in sorted(pack_names(store)):
        contents = []
        for file in (records_file(name), metrics_file(name)):
            with contextlib.suppress(FileNotFoundError):
                contents.append(store.files.read(file))
        if len(contents) < 2:
            continue
        sound = {run.run_id: run for run, _ in sound_runs(store, name)}
        if not sound:
            continue
        groups = open_pack(contents[0], records_file(name))
        for group in range(groups.num_row_groups):
            with contextlib.suppress(StoreError), schema.damage_named(name):
                for run_id in groups.read_row_group(group)["run_id"].to_pylist():
                    if run_id in sound:
                        rows[run_id] = (run_id, sound[run_id].status, name, group)
        packs[name] = Pack(
            runs=len(sound),
            bytes=sum(map(len, contents)),
            records_sha256=hashlib.sha256(contents[0]).hexdigest(),
            metrics_sha256=hashlib.sha256(contents[1]).hexdigest(),
        )
    named = {pack for _, _, pack, _ in rows.values()}
    columns = list(zip(*(rows[i] for i in sorted(rows)), strict=True)) or [()] * 4
    table = pa.Table.from_arrays(
        [pa.array(c, t) for c, t in zip(columns, PLAIN.types, strict=True)],
        schema=PLAIN,
    )
    content = index_bytes(
        indexed(table), {n: p for n, p in packs.items() if n in named}
    )
    number = 1 + max(newest(store.files.names(PACKED)), *(int(n[:6]) for n in packs), 0)
    store.files.publish_once(index_name(number), content)
    return len(rows)
