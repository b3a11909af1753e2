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
import math
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from harness.errors import DamagedFileError, StoreError
from harness.specs.canonical import JsonObject
from harness.store import schema
from harness.store.checks import check_metrics
from harness.store.identity import WorkerId, is_gone
from harness.store.packing.writer import (
    GROUP,
    LARGEST,
    FinishedRun,
    PackWriter,
    pack_names,
    remove_pack,
)
from harness.store.packs import (
    INDEX,
    PACKED,
    Index,
    number_of,
)
from harness.store.read import (
    MARKER,
    Store,
    metrics_name,
    record_name,
    sealed_object,
)

T = TypeVar("T")

TIER = 8
"""So many packs of about one size become one; its size is of the next tier."""
SMALLEST_TIER = 64 * 1024
"""Bytes up to which all packs are of the first tier."""
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
        loose = store.loose()
        _remove_loose(store, loose & index.run_ids)
        new = sorted(loose - index.run_ids)
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
    table = check_metrics(content, run_id, f"{store.uri}/{name}")
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


def _clean(store: Store, packed: Iterable[str]) -> None:
    """Removes what the newest index has made superfluous."""
    index = store.packs.current()
    _remove_loose(store, index.run_ids & set(packed))
    for name in pack_names(store) - index.packs.keys():
        # One of a greater number may be another packer's, who is about to commit it.
        if number_of(name) <= index.number:
            remove_pack(store, name)
    for base in store.files.names(PACKED):
        match = INDEX.fullmatch(base)
        if match and int(match[1]) <= index.number - KEPT_INDEXES:
            store.files.remove(f"{PACKED}/{base}")


def _remove_loose(store: Store, run_ids: Iterable[str]) -> None:
    """Removes the small files of runs that are in packs."""
    for some in chunks(sorted(run_ids)):
        for name_of in (metrics_name, record_name):
            store.files.remove_files([name_of(run_id) for run_id in some])


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


def chunks(values: Iterable[T]) -> Iterator[list[T]]:
    """The values, `GROUP` at a time."""
    rest = iter(values)
    while some := list(islice(rest, GROUP)):
        yield some
