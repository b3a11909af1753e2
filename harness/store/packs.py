"""Runs in packs: the records and metrics of many finished runs in a few large files.

packed/index-<n>.parquet      which pack has which run: the one of the greatest n counts
packed/records-<pack>.parquet their records, each as the text that it was published as
metrics/packed-<pack>.parquet their long rows, run after run

A pack is named `<n>-<digits>` for the index `n` that was to bring it in. An index is
complete and published once, so of several writers of one number one wins, and it takes
effect as a whole; small files of the runs in it are removed afterwards, and packs that
it does not name count for nothing. Numbers never go back. A reader that finds the same
number before and after it has listed the small files has therefore seen every run: one
whose small file went meanwhile would have come with a greater number.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harness.errors import DamagedFileError
from harness.store import schema
from harness.store.files import Files, LocalFiles

PACKED = "packed"
INDEX = re.compile(r"index-(\d{6})\.parquet")
RECORDS_FILE = re.compile(r"records-((\d{6})-[0-9a-f]{8})\.parquet")
METRICS_FILE = re.compile(r"packed-((\d{6})-[0-9a-f]{8})\.parquet")
"""Names of files, with the name of the pack and the number in it as groups."""
PAUSE_S = 0.05
"""The pause before a reader that was overtaken looks for the newest index again."""
INDEX_COLUMNS = pa.schema(
    [
        ("run_id", pa.string()),
        ("status", pa.string()),
        ("pack", pa.dictionary(pa.int32(), pa.string())),
        ("group", pa.int32()),
    ]
)
"""A row per packed run; `group` counts the row groups of both files of its pack."""
RECORDS = pa.schema([("run_id", pa.string()), ("record", pa.string())])


class IndexRow(NamedTuple):
    """Where a run is packed."""

    run_id: str
    status: str
    pack: str
    group: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Pack:
    """What an index says about one pack."""

    runs: int
    bytes: int
    """Of both files together."""
    records_sha256: str
    metrics_sha256: str


class Index:
    """Which pack has which run."""

    def __init__(self, number: int, table: pa.Table, packs: Mapping[str, Pack]) -> None:
        self.number, self.packs = number, packs
        self._table = table

    def rows(self) -> list[IndexRow]:
        """Where each run is packed."""
        columns = (self._table[name].to_pylist() for name in INDEX_COLUMNS.names)
        return list(map(IndexRow._make, zip(*columns, strict=True)))

    @cached_property
    def run_ids(self) -> frozenset[str]:
        """Ids of the runs in packs."""
        return frozenset(self._table["run_id"].to_pylist())

    @cached_property
    def places(self) -> dict[str, tuple[str, int]]:
        """Pack and group of each run."""
        return {row.run_id: (row.pack, row.group) for row in self.rows()}

    @cached_property
    def statuses(self) -> dict[str, str]:
        """Status of each run, as its record has it."""
        return {row.run_id: row.status for row in self.rows()}

    def runs_in(self, pack: str) -> set[str]:
        """Ids of the runs in a pack."""
        return {run_id for run_id, (name, _) in self.places.items() if name == pack}

    @classmethod
    def none(cls) -> Index:
        """That of a store in which nothing was ever packed."""
        return cls(0, INDEX_COLUMNS.empty_table(), {})


class Packs:
    """The packs of a store, read as they are needed and kept while they are."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._index: Index | None = None
        self._kept: dict[Callable[[str], str], _OpenFile] = {}
        """The file of each of the two kinds that was read last."""

    @property
    def known(self) -> Index:
        """The newest index that was met so far."""
        return self._index or self.current()

    def current(self) -> Index:
        """The newest index now.

        Raises `StoreError` if it is damaged.
        """
        while True:
            number = self._newest()
            if self._index and self._index.number >= number:
                return self._index
            try:
                self._index = self._read(number) if number else Index.none()
            except FileNotFoundError:
                if self._files.exists(index_name(number)):
                    name = f"{self._files.uri}/{index_name(number)}"
                    raise DamagedFileError(f"{name} leads nowhere") from None
                # A newer one came, and this one went.
                time.sleep(PAUSE_S)
                continue
            return self._index

    def _newest(self) -> int:
        number = newest(self._files.names(PACKED))
        if self._index:
            number = max(number, self._index.number)
        if isinstance(self._files, LocalFiles):
            # Listings of network file systems can be seconds behind: it is asked for.
            while self._files.exists(index_name(number + 1)):
                number += 1
        return number

    def record(self, run_id: str) -> str | None:
        """The text of a run's record; None if it is in no pack."""
        table = self._rows(run_id, records_file)
        return None if table is None else str(table["record"][0].as_py())

    def metrics(self, run_id: str) -> pa.Table | None:
        """A run's long rows; None if it is in no pack."""
        return self._rows(run_id, metrics_file)

    def in_order(self, run_ids: Iterable[str]) -> list[str]:
        """The runs so that those of one group follow each other, loose ones last."""
        places = self.known.places
        return sorted(run_ids, key=lambda i: (places.get(i, ("~", 0)), i))

    def _rows(self, run_id: str, file: Callable[[str], str]) -> pa.Table | None:
        index = self.known
        while place := index.places.get(run_id):
            pack, group = place
            try:
                table = self._file(file, pack).group(group)
            except FileNotFoundError:
                newer = self.current()
                if newer.number == index.number:
                    raise DamagedFileError(
                        f"{self._files.uri}/{file(pack)} is missing, with "
                        f"{index.packs[pack].runs} runs; "
                        f"`harness doctor {self._files.uri}` says more"
                    ) from None
                index = newer
                continue
            rows = table.filter(pc.equal(table["run_id"], run_id))
            if not rows.num_rows:
                raise DamagedFileError(
                    f"{self._files.uri}/{file(pack)} lacks run {run_id}"
                )
            return rows
        return None

    def _file(self, file: Callable[[str], str], pack: str) -> _OpenFile:
        kept = self._kept.get(file)
        if kept is None or kept.name != file(pack):
            name = file(pack)
            content, uri = self._files.read(name), f"{self._files.uri}/{name}"
            kept = self._kept[file] = _OpenFile(name, content, uri)
        return kept

    def _read(self, number: int) -> Index:
        name = index_name(number)
        return parse_index(self._files.read(name), number, f"{self._files.uri}/{name}")


class _OpenFile:
    """A file of a pack, and the group of it that was read last."""

    def __init__(self, name: str, content: bytes, uri: str) -> None:
        self.name, self._uri = name, uri
        self._file = open_pack(content, uri)
        self._number, self._group = -1, pa.table({})

    def group(self, number: int) -> pa.Table:
        """A row group."""
        if self._number != number:
            with schema.damage_named(self._uri):
                self._group = self._file.read_row_group(number, use_threads=False)
            self._number = number
        return self._group


def describe(runs: int, records: bytes, metrics: bytes) -> Pack:
    """What an index says about a pack of so many runs, by the contents of its files."""
    return Pack(
        runs=runs,
        bytes=len(records) + len(metrics),
        records_sha256=hashlib.sha256(records).hexdigest(),
        metrics_sha256=hashlib.sha256(metrics).hexdigest(),
    )


def open_pack(content: bytes, name: str) -> pq.ParquetFile:
    """A file of a pack, its page checksums verified where it is read.

    Raises `StoreError` that names it if it is damaged.
    """
    with schema.damage_named(name):
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        if file.schema_arrow.remove_metadata() not in (RECORDS, schema.METRICS):
            raise ValueError("it has other columns")
    return file


def newest(names: Iterable[str]) -> int:
    """The greatest number of an index among names of files; 0 if there is none."""
    return max((int(m[1]) for m in map(INDEX.fullmatch, names) if m), default=0)


def parse_index(content: bytes, number: int, name: str) -> Index:
    """The index in a file. Raises `StoreError` that names it if it is damaged."""
    table = schema.read_parquet(content, name)
    try:
        if table.schema.remove_metadata() != INDEX_COLUMNS:
            raise ValueError("has other columns")
        facts = json.loads((table.schema.metadata or {})[b"harness.packs"])
        packs = {pack: Pack(**values) for pack, values in facts.items()}
        named = set(table["pack"].unique().to_pylist())
        if named != packs.keys():
            raise ValueError("names other packs than it describes")
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DamagedFileError(f"{name} is damaged: {error}") from None
    return Index(number, table, packs)


def index_bytes(rows: Iterable[IndexRow], packs: Mapping[str, Pack]) -> bytes:
    """The content of the file of an index; rows are put in order by run."""
    columns = list(zip(*sorted(rows), strict=True)) or [()] * len(INDEX_COLUMNS)
    arrays = [
        pa.array(column, pa.string()).dictionary_encode()
        if pa.types.is_dictionary(kind)
        else pa.array(column, kind)
        for column, kind in zip(columns, INDEX_COLUMNS.types, strict=True)
    ]
    table = pa.Table.from_arrays(arrays, schema=INDEX_COLUMNS)
    facts = {name: dataclasses.asdict(packs[name]) for name in sorted(packs)}
    return schema.parquet_bytes(table, **{"harness.packs": json.dumps(facts)})


def index_name(number: int) -> str:
    """The file of an index."""
    return f"{PACKED}/index-{number:06d}.parquet"


def records_file(pack: str) -> str:
    """The file of a pack's records."""
    return f"{PACKED}/records-{pack}.parquet"


def metrics_file(pack: str) -> str:
    """The file of a pack's long rows."""
    return f"metrics/packed-{pack}.parquet"


def number_of(pack: str) -> int:
    """The number of the index that was to bring a pack in."""
    return int(pack.partition("-")[0])
