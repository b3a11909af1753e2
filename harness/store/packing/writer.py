"""The files of packs, written and taken apart again."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from harness.errors import StoreError
from harness.store import schema
from harness.store.packs import (
    METRICS_FILE,
    PACKED,
    RECORDS,
    RECORDS_FILE,
    Index,
    IndexRow,
    Pack,
    describe,
    index_bytes,
    index_name,
    metrics_file,
    open_pack,
    records_file,
)
from harness.store.read import Store

GROUP = 512
"""Runs that are read, and lie in one row group, together."""
LARGEST = 32 * 2**20
"""Bytes of a pack after which the next begins, and of those that are left as they are
when others are merged."""


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
        self._rows: list[IndexRow] = []
        self._waiting: list[FinishedRun] = []
        self._open: _OpenPack | None = None
        self._overtaken = False

    def add(self, runs: Sequence[FinishedRun]) -> None:
        """Takes runs into a pack; a group is written when it is full."""
        self._waiting += runs
        while len(self._waiting) >= GROUP and not self._overtaken:
            self._write_group(self._waiting[:GROUP])
            del self._waiting[:GROUP]

    def take(self, packs: Iterable[str]) -> bool:
        """Takes all runs of packs into new ones; False if a pack has gone meanwhile."""
        try:
            for name in packs:
                self.drop(name)
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
        if self._overtaken:
            return self._discard()
        rows = [row for row in self._index.rows() if row.pack in self._kept]
        packs = {n: p for n, p in self._index.packs.items() if n in self._kept}
        content = index_bytes([*rows, *self._rows], packs | self._new)
        name = index_name(self._index.number + 1)
        if self._store.files.publish_once(name, content):
            return True
        return self._discard()

    def _discard(self) -> bool:
        """Removes what was written, but what the newest index names; False."""
        for pack in self._new.keys() - self._store.packs.current().packs.keys():
            remove_pack(self._store, pack)
        return False

    def _write_group(self, runs: Sequence[FinishedRun]) -> None:
        if self._open is None:
            self._open = _OpenPack()
        self._open.write(runs)
        if self._open.size >= LARGEST:
            self._close_pack()

    def _close_pack(self) -> None:
        """Publishes the open pack, and reads it back before anything rests on it."""
        if self._open is None:
            return
        records, metrics = self._open.close()
        digest = hashlib.sha256(records + metrics).hexdigest()[:8]
        name = f"{self._index.number + 1:06d}-{digest}"
        self._new[name] = describe(self._open.runs, records, metrics)
        try:
            self._publish(metrics_file(name), metrics)
            self._publish(records_file(name), records)
        except FileNotFoundError:
            # Another packer came first, and cleans up what its index does not name.
            if self._store.packs.current().number <= self._index.number:
                raise
            self._overtaken = True
        rows = [
            IndexRow(run_id, status, name, group)
            for group, runs in enumerate(self._open.groups)
            for run_id, status in runs
        ]
        self._rows += rows
        self._open = None

    def _publish(self, file: str, content: bytes) -> None:
        files = self._store.files
        files.publish(file, content)
        if files.read(file) != content:
            raise StoreError(f"{files.uri}/{file} does not hold what was written")


class _OpenPack:
    """The two files of a pack that is being made, in memory."""

    def __init__(self) -> None:
        self.groups: list[list[tuple[str, str]]] = []
        """Id and status of the runs in each row group."""
        self._sinks = (io.BytesIO(), io.BytesIO())
        self._writers = (
            _writer(self._sinks[0], RECORDS, use_dictionary=False),
            _writer(self._sinks[1], schema.METRICS, use_dictionary=["split", "metric"]),
        )

    @property
    def runs(self) -> int:
        return sum(map(len, self.groups))

    @property
    def size(self) -> int:
        return sum(sink.tell() for sink in self._sinks)

    def write(self, runs: Sequence[FinishedRun]) -> None:
        """Writes a row group into each file."""
        texts = ([r.run_id for r in runs], [r.record for r in runs])
        records = pa.Table.from_arrays(
            [pa.array(t, pa.string()) for t in texts], schema=RECORDS
        )
        tables = [run.metrics.replace_schema_metadata(None) for run in runs]
        metrics = pa.concat_tables([schema.METRICS.empty_table(), *tables])
        for writer, table in zip(self._writers, (records, metrics), strict=True):
            writer.write_table(table, row_group_size=max(1, table.num_rows))
        self.groups.append([(run.run_id, run.status) for run in runs])

    def close(self) -> tuple[bytes, bytes]:
        for writer in self._writers:
            writer.close()
        return self._sinks[0].getvalue(), self._sinks[1].getvalue()


def runs_of(store: Store, index: Index, name: str) -> Iterator[list[FinishedRun]]:
    """The runs of a pack, a group at a time. Raises `StoreError` if it is damaged."""
    opened = []
    for file in (records_file(name), metrics_file(name)):
        content = store.files.read(file)
        opened.append(open_pack(content, f"{store.uri}/{file}"))
    for group in range(opened[0].num_row_groups):
        with schema.damage_named(f"{store.uri}/{records_file(name)}"):
            records, metrics = (file.read_row_group(group) for file in opened)
        yield [
            FinishedRun(run_id, index.statuses[run_id], text, rows)
            for run_id, text, rows in split(records, metrics)
        ]


def split(records: pa.Table, metrics: pa.Table) -> Iterator[tuple[str, str, pa.Table]]:
    """Id, text of the record and rows of each run of a group; rows lie together."""
    ids = metrics["run_id"].to_pylist()
    first, count = dict[str, int](), Counter(ids)
    for row, run_id in enumerate(ids):
        first.setdefault(run_id, row)
    columns = (records[name].to_pylist() for name in RECORDS.names)
    for run_id, text in zip(*columns, strict=True):
        yield run_id, text, metrics.slice(first.get(run_id, 0), count[run_id])


def pack_names(store: Store) -> set[str]:
    """Names of all packs of which there is a file."""
    found = set()
    for folder, pattern in ((PACKED, RECORDS_FILE), ("metrics", METRICS_FILE)):
        matches = map(pattern.fullmatch, store.files.names(folder))
        found |= {match[1] for match in matches if match}
    return found


def remove_pack(store: Store, name: str) -> None:
    """Removes the files of a pack."""
    for file in (metrics_file(name), records_file(name)):
        store.files.remove(file)


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
