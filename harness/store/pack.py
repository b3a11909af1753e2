"""`harness pack`: small files of finished runs into few large ones, while others work.

A pack is written whole, verified, and brought in by the next index (`packs`). Before
that nothing of it counts, and after it the small files do not: whenever this is cut
off, a reader sees each run once, and the next call goes on. Several packers race for
the number of the index; the one that comes late discards what it has written and looks
again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import math
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harness.errors import DamagedFileError, StoreError
from harness.specs.canonical import JsonObject
from harness.store import schema
from harness.store.identity import WorkerId, is_gone
from harness.store.packs import (
    INDEX,
    INDEX_COLUMNS,
    METRICS_FILE,
    PACKED,
    RECORDS,
    RECORDS_FILE,
    Index,
    Pack,
    index_bytes,
    index_name,
    metrics_file,
    number_of,
    open_pack,
    records_file,
)
from harness.store.read import (
    MARKER,
    Store,
    metrics_name,
    record_name,
    sealed_object,
)

T = TypeVar("T")

GROUP = 512
"""Runs that are read, and lie in one row group, together."""
LARGEST = 32 * 2**20
"""Bytes of a pack after which the next begins, and of those that are left as they are
when others are merged."""
TIER = 8
"""So many packs of about one size become one; its size is of the next tier."""
SMALLEST_TIER = 64 * 1024
READERS = 8
"""Small files that are read at a time: object stores answer slowly, but many at once.
"""
TURN, TURN_S = "work/packing.json", 600.0
"""What says that a worker packs, and the seconds after which that is not believed."""
KEPT_INDEXES = 2
"""The newest index, and the one before: a listing that was under way when the newest
came may lack it, and must not find nothing."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Packed:
    """What a call of `pack` has done."""

    runs: int
    """Runs whose small files it has packed."""
    packs: int
    """Packs that the store has now."""
    bytes: int
    """Their size."""
    damaged: int
    """Runs that were left as they are: their files are not sound."""


def pack(store: Store, *, least: int = 1, in_turn: bool = False) -> Packed:
    """Packs what is finished and loose, and merges small packs of one size.

    Args:
        store: The results folder.
        least: Nothing happens while fewer runs than this are loose.
        in_turn: Nothing happens while another who asked so is at it: of many workers
            one is enough.

    Raises `StoreError` if the store cannot be read or written.
    """
    if least > 1 and len(store.loose()) < least:
        return _summary(store, 0, 0)
    if not in_turn:
        return _pack(store)
    if not _take_turn(store):
        return _summary(store, 0, 0)
    try:
        return _pack(store)
    finally:
        store.files.remove(TURN)


def _take_turn(store: Store) -> bool:
    """Whether nobody else packs. This saves work; being right does not rest on it."""
    if is_gone(store.json_or_empty(TURN)) or (store.files.age(TURN) or 0.0) > TURN_S:
        store.files.remove(TURN)
    mine = dataclasses.asdict(WorkerId.mine())
    return store.files.publish_once(TURN, schema.json_bytes(mine))


def _pack(store: Store) -> Packed:
    _follow_format(store)
    while True:
        index = store.packs.current()
        _remove_loose(store, store.loose() & index.run_ids)
        new = sorted(store.loose() - index.run_ids)
        merged = _to_merge(index)
        if not new and not merged and not _unfinished(store, index):
            break
        writer, damaged = PackWriter(store, index), 0
        for some in chunks(new):
            runs, errors = _read_loose(store, some)
            writer.add(runs)
            damaged += len(errors)
            for error in errors:
                warnings.warn(f"not packed: {error}", stacklevel=2)
        if writer.take(merged) and writer.commit():
            _clean(store, new)
            return _summary(store, len(new) - damaged, damaged)
    _clean(store, [])
    return _summary(store, 0, 0)


@dataclasses.dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run as it goes into a pack."""

    run_id: str
    status: str
    record: str
    """Its text, as it was published."""
    metrics: pa.Table


class PackWriter:
    """Writes the next index of a store and the packs that it brings in."""

    def __init__(self, store: Store, index: Index) -> None:
        self._store, self._index = store, index
        self._kept = set(index.packs)
        self._new: dict[str, Pack] = {}
        self._rows: list[pa.Table] = []
        self._waiting: list[FinishedRun] = []
        self._open: _OpenPack | None = None

    def add(self, runs: Sequence[FinishedRun]) -> None:
        """Takes runs into a pack; a group is written when it is full."""
        self._waiting += runs
        while len(self._waiting) >= GROUP:
            self._write_group(self._waiting[:GROUP])
            del self._waiting[:GROUP]

    def take(self, packs: Iterable[str]) -> bool:
        """Takes all runs of packs into new ones; False if a pack has gone meanwhile."""
        try:
            for name in packs:
                self._kept.discard(name)
                for runs in runs_of(self._store, self._index, name):
                    self.add(runs)
        except FileNotFoundError:
            return False
        return True

    def drop(self, name: str) -> None:
        """Leaves a pack out of the next index."""
        self._kept.discard(name)

    def commit(self) -> bool:
        """Brings the packs in; False, and all discarded, if another was faster."""
        if self._waiting:
            self._write_group(self._waiting)
        self._close_pack()
        kept = self._index.table.filter(
            pc.is_in(
                self._index.table["pack"].cast(pa.string()),
                pa.array(sorted(self._kept), pa.string()),
            )
        )
        table = pa.concat_tables([_plain(kept), *map(_plain, self._rows)])
        packs = {n: p for n, p in self._index.packs.items() if n in self._kept}
        content = index_bytes(indexed(table), packs | self._new)
        number = self._index.number + 1
        done = self._store.files.publish_once(index_name(number), content)
        current = self._store.packs.current()
        if not done:
            for name in self._new.keys() - current.packs.keys():
                _remove_pack(self._store, name)
        return done

    def _write_group(self, runs: Sequence[FinishedRun]) -> None:
        if self._open is None:
            self._open = _OpenPack()
        group = self._open.write(runs)
        columns = [
            [run.run_id for run in runs],
            [run.status for run in runs],
            [""] * len(runs),
            [group] * len(runs),
        ]
        self._open.rows.append(
            pa.Table.from_arrays(
                [pa.array(c, t) for c, t in zip(columns, PLAIN.types, strict=True)],
                schema=PLAIN,
            )
        )
        if self._open.size >= LARGEST:
            self._close_pack()

    def _close_pack(self) -> None:
        """Publishes the open pack, and reads it back before anything rests on it."""
        if self._open is None:
            return
        records, metrics = self._open.close()
        digest = hashlib.sha256(records + metrics).hexdigest()[:8]
        name = f"{self._index.number + 1:06d}-{digest}"
        files = self._store.files
        for file, content in (
            (metrics_file(name), metrics),
            (records_file(name), records),
        ):
            files.publish(file, content)
            if files.read(file) != content:
                raise StoreError(f"{files.uri}/{file} does not hold what was written")
        self._new[name] = Pack(
            runs=self._open.runs,
            bytes=len(records) + len(metrics),
            records_sha256=hashlib.sha256(records).hexdigest(),
            metrics_sha256=hashlib.sha256(metrics).hexdigest(),
        )
        for rows in self._open.rows:
            named = pa.array([name] * rows.num_rows, pa.string())
            at = PLAIN.get_field_index("pack")
            self._rows.append(rows.set_column(at, PLAIN.field(at), named))
        self._open = None


class _OpenPack:
    """The two files of a pack that is being made, in memory."""

    def __init__(self) -> None:
        self.rows: list[pa.Table] = []
        self.runs = self._groups = 0
        self._sinks = (io.BytesIO(), io.BytesIO())
        self._writers = (
            _writer(self._sinks[0], RECORDS, use_dictionary=False),
            _writer(self._sinks[1], schema.METRICS, use_dictionary=["split", "metric"]),
        )

    @property
    def size(self) -> int:
        return sum(sink.tell() for sink in self._sinks)

    def write(self, runs: Sequence[FinishedRun]) -> int:
        """Writes a row group into each file; returns its number."""
        texts = ([r.run_id for r in runs], [r.record for r in runs])
        records = pa.Table.from_arrays(
            [pa.array(t, pa.string()) for t in texts], schema=RECORDS
        )
        tables = [run.metrics.replace_schema_metadata(None) for run in runs]
        metrics = pa.concat_tables([schema.METRICS.empty_table(), *tables])
        for writer, table in zip(self._writers, (records, metrics), strict=True):
            writer.write_table(table, row_group_size=max(1, table.num_rows))
        self.runs += len(runs)
        self._groups += 1
        return self._groups - 1

    def close(self) -> tuple[bytes, bytes]:
        for writer in self._writers:
            writer.close()
        return self._sinks[0].getvalue(), self._sinks[1].getvalue()


PLAIN = pa.schema(
    [
        field.with_type(pa.string()) if field.name == "pack" else field
        for field in INDEX_COLUMNS
    ]
)
"""The columns of an index while it is being made."""


def runs_of(store: Store, index: Index, name: str) -> Iterator[list[FinishedRun]]:
    """The runs of a pack, a group at a time. Raises `StoreError` if it is damaged."""
    opened = []
    for file in (records_file(name), metrics_file(name)):
        content = store.files.read(file)
        opened.append(open_pack(content, f"{store.uri}/{file}"))
    for group in range(opened[0].num_row_groups):
        with schema.damage_named(f"{store.uri}/{records_file(name)}"):
            records, metrics = (file.read_row_group(group) for file in opened)
        yield list(_split(records, metrics, index))


def _split(records: pa.Table, metrics: pa.Table, index: Index) -> Iterator[FinishedRun]:
    """The runs of a group; the rows of each lie together."""
    ids = metrics["run_id"].to_pylist()
    first: dict[str, int] = {}
    count: defaultdict[str, int] = defaultdict(int)
    for row, run_id in enumerate(ids):
        first.setdefault(run_id, row)
        count[run_id] += 1
    for run_id, record in zip(
        records["run_id"].to_pylist(), records["record"].to_pylist(), strict=True
    ):
        rows = metrics.slice(first.get(run_id, 0), count[run_id])
        yield FinishedRun(run_id, index.statuses[run_id], record, rows)


def _read_loose(
    store: Store, run_ids: Sequence[str]
) -> tuple[list[FinishedRun], list[str]]:
    """The loose runs as they go into a pack, and what is wrong with the others.

    One that has gone is neither: another packer was here, or the doctor.
    """

    def read(run_id: str) -> FinishedRun | str | None:
        try:
            return _verified(store, run_id)
        except FileNotFoundError:
            return None
        except StoreError as error:
            return str(error)

    with ThreadPoolExecutor(READERS) as readers:
        found = list(readers.map(read, run_ids))
    runs = [run for run in found if isinstance(run, FinishedRun)]
    return runs, [error for error in found if isinstance(error, str)]


def _verified(store: Store, run_id: str) -> FinishedRun:
    """A run from its two small files, verified by the checksums in its record."""
    text, name = store.files.read(record_name(run_id)), metrics_name(run_id)
    record = sealed_object(text, f"{store.uri}/{record_name(run_id)}", store.uri)
    content = store.files.read(name)
    stamp = record.get("metrics")
    digest = stamp.get("sha256") if isinstance(stamp, dict) else None
    if record.get("run_id") != run_id or (
        digest != hashlib.sha256(content).hexdigest()
    ):
        raise DamagedFileError(f"{store.uri}/{name} is not what its record describes")
    table = schema.read_parquet(content, f"{store.uri}/{name}")
    if not table.schema.remove_metadata().equals(schema.METRICS):
        raise DamagedFileError(f"{store.uri}/{name} has other columns")
    return FinishedRun(run_id, str(record.get("status")), text.decode(), table)


def _to_merge(index: Index) -> list[str]:
    """Packs of the tiers that are full."""
    tiers: defaultdict[int, list[str]] = defaultdict(list)
    for name, facts in index.packs.items():
        if facts.bytes < LARGEST // 2:
            size = max(1.0, facts.bytes / SMALLEST_TIER)
            tiers[int(math.log(size, TIER))].append(name)
    full = [names for names in tiers.values() if len(names) >= TIER]
    return sorted(name for names in full for name in names)


def _unfinished(store: Store, index: Index) -> list[str]:
    """Packs that were written for the next index, which has not come."""
    return [n for n in pack_names(store) if number_of(n) > index.number]


def pack_names(store: Store) -> set[str]:
    """Names of all packs of which there is a file."""
    found = set()
    for folder, pattern in ((PACKED, RECORDS_FILE), ("metrics", METRICS_FILE)):
        matches = map(pattern.fullmatch, store.files.names(folder))
        found |= {match[1] for match in matches if match}
    return found


def _clean(store: Store, packed: Iterable[str]) -> None:
    """Removes what the newest index has made superfluous."""
    index = store.packs.current()
    _remove_loose(store, index.run_ids & set(packed))
    for name in pack_names(store) - index.packs.keys():
        # One of a greater number may be another packer's, who is about to commit it.
        if number_of(name) <= index.number:
            _remove_pack(store, name)
    for base in store.files.names(PACKED):
        match = INDEX.fullmatch(base)
        if match and int(match[1]) <= index.number - KEPT_INDEXES:
            store.files.remove(f"{PACKED}/{base}")


def _remove_loose(store: Store, run_ids: Iterable[str]) -> None:
    """Removes the small files of runs that are in packs."""
    for some in chunks(sorted(run_ids)):
        for name_of in (metrics_name, record_name):
            store.files.remove_files([name_of(run_id) for run_id in some])


def _remove_pack(store: Store, name: str) -> None:
    for file in (metrics_file(name), records_file(name)):
        store.files.remove(file)


def _summary(store: Store, runs: int, damaged: int) -> Packed:
    packs = store.packs.current().packs
    return Packed(
        runs=runs,
        packs=len(packs),
        bytes=sum(facts.bytes for facts in packs.values()),
        damaged=damaged,
    )


def _follow_format(store: Store) -> None:
    """Marks a store of a format without packs: programs that know none refuse it."""
    marker = store.json(MARKER)
    if marker.get("format") != schema.FORMAT:
        newer: JsonObject = marker | {"format": schema.FORMAT}
        store.files.publish(MARKER, schema.json_bytes(newer))


def _plain(table: pa.Table) -> pa.Table:
    return table.replace_schema_metadata(None).cast(PLAIN)


def indexed(table: pa.Table) -> pa.Table:
    """The table of an index, by run."""
    table = table.combine_chunks().sort_by("run_id")
    return table.set_column(
        PLAIN.get_field_index("pack"),
        INDEX_COLUMNS.field("pack"),
        table["pack"].dictionary_encode(),
    )


def _writer(sink: io.BytesIO, columns: pa.Schema, **how: object) -> pq.ParquetWriter:
    metadata = {"harness.format": str(schema.FORMAT)}
    return pq.ParquetWriter(
        sink,
        columns.with_metadata(metadata),
        compression="zstd",
        compression_level=9,
        write_page_checksum=True,
        **how,
    )


def chunks(values: Iterable[T]) -> Iterator[list[T]]:
    """The values, `GROUP` at a time."""
    rest = iter(values)
    while some := list(islice(rest, GROUP)):
        yield some
