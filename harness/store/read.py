"""Reading a store. Nothing here writes to it."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from harness.errors import DamagedFileError, StoreError
from harness.specs.canonical import JsonObject
from harness.store.exclusive import WAYS
from harness.store.files import Files, LocalFiles
from harness.store.packs import PACKED, Packs, newest
from harness.store.plain import is_sound, json_object
from harness.store.schema import (
    FORMAT,
    OLDER_FORMATS,
    READ_FORMATS,
    read_parquet,
)

MARKER = "_store.json"
RUNS = "runs.parquet"
SWEEP = "sweep.json"
"""Name, doc and id of the sweep run last; the only one of these that is replaced."""
ID = re.compile(r"[0-9a-f]{16}")
"""Ids of runs, trunks and sweeps. They become file names: nothing else is let in."""


@dataclasses.dataclass(frozen=True, slots=True)
class Store:
    """A results folder, on a disk or in an object store."""

    files: Files
    packs: Packs = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "packs", Packs(self.files))

    @property
    def uri(self) -> str:
        """The folder's path or the prefix's address, for people."""
        return self.files.uri

    @property
    def folder(self) -> Path | None:
        """The path on this machine's disks, if it has one."""
        return self.files.root if isinstance(self.files, LocalFiles) else None

    def finished(self) -> set[str]:
        """Ids of the finished runs: those whose record exists, loose or in a pack."""
        index = self.packs.known
        while True:
            loose = self.loose()
            newer = self.packs.current()
            if newer.number == index.number:
                return loose | newer.run_ids
            # A run may have gone from the one to the other meanwhile.
            index = newer

    def loose(self) -> set[str]:
        """Ids of the runs whose record is a file of its own."""
        return set(self._stems("records"))

    def is_finished(self, run_id: str) -> bool:
        """Whether this run's record exists."""
        index = self.packs.known
        while run_id not in index.run_ids:
            if self.files.exists(record_name(run_id)):
                return True
            newer = self.packs.current()
            if newer.number == index.number:
                return False
            index = newer
        return True

    def record(self, run_id: str) -> JsonObject:
        """The whole record of a finished run. Raises `StoreError` if it is damaged."""
        if (text := self.packs.record(run_id)) is None:
            try:
                return self.json(record_name(run_id))
            except DamagedFileError:
                # It may have been packed since the packs were looked at.
                self.packs.current()
                if (text := self.packs.record(run_id)) is None:
                    raise
        return sealed_object(text.encode(), f"the record of run {run_id}", self.uri)

    def metrics(self, run_id: str) -> pa.Table:
        """The long rows of a finished run.

        Raises `StoreError` if they are damaged, or if there are none.
        """
        name = metrics_name(run_id)
        if (rows := self.packs.metrics(run_id)) is not None:
            return rows
        try:
            return read_parquet(self.files.read(name), f"{self.uri}/{name}")
        except FileNotFoundError:
            self.packs.current()
            if (rows := self.packs.metrics(run_id)) is None:
                raise DamagedFileError(f"{self.uri}/{name} is missing") from None
            return rows

    def sweeps(self) -> list[JsonObject]:
        """The sweeps written to this store by age, the one run last at the end."""
        sweeps = [self.sweep(stem) for stem in self._stems("sweeps")]
        current = self._current()
        return sorted(sweeps, key=lambda s: (s["sweep_id"] == current, s["created"]))

    def sweep(self, sweep_id: str) -> JsonObject:
        """One sweep as it was frozen. Raises `StoreError` if it is damaged."""
        name = f"sweeps/{sweep_id}.json"
        sweep = self.json(name)
        if not is_sweep(sweep):
            raise StoreError(f"{self.uri}/{name} does not hold a sweep")
        newest = self.json(SWEEP) if self.files.exists(SWEEP) else {}
        if newest.get("sweep_id") == sweep_id and "keep_weights" in newest:
            # It is no part of what a sweep is, and may have changed since.
            sweep["keep_weights"] = newest["keep_weights"]
        return sweep

    def _current(self) -> str | None:
        """The id of the sweep that was run last."""
        return self.json(SWEEP).get("sweep_id") if self.files.exists(SWEEP) else None

    def failures(self) -> list[JsonObject]:
        """One record per failed attempt, oldest first."""
        records = [
            self.json(f"failures/{stem}.json") for stem in self._stems("failures")
        ]
        return sorted(records, key=lambda failure: str(failure.get("time")))

    def json(self, name: str) -> JsonObject:
        """A JSON object. Raises `StoreError` that names a missing or damaged file."""
        try:
            content = self.files.read(name)
        except (FileNotFoundError, DamagedFileError) as error:
            raise _unreadable(f"{self.uri}/{name}", error, self.uri) from None
        return sealed_object(content, f"{self.uri}/{name}", self.uri)

    def json_or_empty(self, name: str) -> JsonObject:
        """A JSON object whatever its checksum; empty if it is missing or damaged.

        Raises `StoreError` if it cannot be read though it is there.
        """
        with contextlib.suppress(FileNotFoundError, DamagedFileError):
            return _object_or_empty(self.files.read(name))
        return {}

    def claim(self, name: str) -> JsonObject:
        """A claim, as `json_or_empty`; one that comes back empty is read again.

        What a claim says must not be taken for nothing because of a fault of the
        moment: whoever goes on from it would train another population.
        """
        with contextlib.suppress(FileNotFoundError, DamagedFileError):
            faults = self.files.faults
            return _object_or_empty(faults.until(bool, lambda: self.files.read(name)))
        return {}

    def _stems(self, folder: str) -> list[str]:
        names = self.files.names(folder)
        return [n.removesuffix(".json") for n in names if n.endswith(".json")]


def _object_or_empty(content: bytes) -> JsonObject:
    try:
        return json_object(content)
    except ValueError:
        return {}


def sealed_object(content: bytes, name: str, uri: str) -> JsonObject:
    """The JSON object in the content of a file, which agrees with its checksum.

    Raises `DamagedFileError` that names the file if it does not.
    """
    try:
        value = json_object(content)
    except ValueError as error:
        raise _unreadable(name, error, uri) from None
    if not is_sound(value):
        raise DamagedFileError(f"{name} is damaged: its checksum is another")
    return value


def _unreadable(name: str, error: Exception, uri: str) -> DamagedFileError:
    return DamagedFileError(
        f"{name} cannot be read: {error}; `harness doctor {uri}` says more"
    )


def open_store(where: str | Path) -> Store:
    """The store at a path or `s3://` address.

    Raises `StoreError` if there is none, or one of a newer format.
    """
    store = Store(files_at(where))
    if not store.files.exists(MARKER):
        raise StoreError(
            f"{store.uri} is not a results folder (it has no {MARKER}); `harness run` "
            "writes one"
        )
    marker = store.json(MARKER)
    version = marker.get("format")
    if version in OLDER_FORMATS:
        raise StoreError(
            f"{store.uri} has store format {version}; "
            f"`harness doctor {store.uri} --convert NEW` writes it again in format "
            f"{FORMAT}"
        )
    if version not in READ_FORMATS:
        raise StoreError(
            f"{store.uri} has store format {version}; this harness reads format "
            f"{FORMAT}: upgrade it"
        )
    follow_marker(store, marker)
    return store


def follow_marker(store: Store, marker: JsonObject) -> None:
    """Takes names in the way that all workers of a store use.

    Raises `StoreError` if its marker names one that is not known.
    """
    way = marker.get("exclusive", WAYS[0])
    if way not in WAYS:
        raise StoreError(
            f"{store.uri}/{MARKER} asks for {str(way)[:40]!r}; known are "
            f"{', '.join(WAYS)}"
        )
    store.files.exclusive = way


def files_at(where: str | Path) -> Files:
    """The back end for a path or address."""
    scheme, separator, _ = str(where).partition("://")
    if not separator:
        return LocalFiles(Path(where))
    if scheme != "s3":
        raise StoreError(f"{where}: results go to a folder or to s3://bucket/prefix")
    # Imported only for those who use it: its client library is large.
    from harness.store.objects import ObjectFiles

    return ObjectFiles(str(where))


def read_runs(store: Store) -> pa.Table | None:
    """The table of finished runs as it is; None if there is none.

    Raises `StoreError` if it is damaged.
    """
    try:
        return read_parquet(store.files.read(RUNS), f"{store.uri}/{RUNS}")
    except FileNotFoundError:
        return None


COPIED = ("sweeps", "records", "metrics", PACKED)


def copy_tables(store: Store, folder: Path) -> None:
    """Copies what a store has published to a folder here, for fits and figures.

    Files that never change are copied once.
    """
    copy = LocalFiles(folder)
    while True:
        before, gone = newest(store.files.names(PACKED)), None
        try:
            _copy_once(store, copy)
        except FileNotFoundError as error:
            gone = error
        if newest(store.files.names(PACKED)) == before:
            break
        # Some were packed meanwhile.
    if gone is not None:
        raise StoreError(f"{store.uri} lists a file that is not there: {gone}")
    copy.publish_once(MARKER, store.files.read(MARKER))
    for name in filter(store.files.exists, (SWEEP, RUNS)):
        content = store.files.read(name)
        if not copy.exists(name) or copy.read(name) != content:
            copy.publish(name, content)


def _copy_once(store: Store, copy: LocalFiles) -> None:
    for sub in COPIED:
        present = set(copy.names(sub))
        for name in store.files.names(sub):
            if name not in present:
                copy.publish_once(f"{sub}/{name}", store.files.read(f"{sub}/{name}"))


def record_name(run_id: str) -> str:
    """The file whose existence says that a run is done."""
    return f"records/{run_id}.json"


def metrics_name(run_id: str) -> str:
    """The file of a finished run's long rows."""
    return f"metrics/{run_id}.parquet"


def points(sweep: JsonObject) -> Iterator[tuple[str, JsonObject]]:
    """(run id, coordinates) of each point of a sweep."""
    for point in sweep["points"]:
        yield point["run_id"], point["coords"]


def is_sweep(value: JsonObject) -> bool:
    """Whether a JSON object has all that a sweep must have."""
    if not {"created", "sweep_id", "name", "points"} <= value.keys():
        return False
    texts = (value["created"], value["sweep_id"], value["name"])
    return (
        all(isinstance(text, str) for text in texts)
        and isinstance(value["points"], list)
        and all(map(_is_point, value["points"]))
    )


def _is_point(value: object) -> bool:
    return (
        isinstance(value, dict)
        and all(_is_id(value.get(key)) for key in ("run_id", "trunk_id"))
        and isinstance(value.get("price"), int | float)
        and isinstance(value.get("spec"), dict)
        and isinstance(value.get("coords"), dict)
        and all(
            isinstance(v, bool | int | float | str) for v in value["coords"].values()
        )
    )


def _is_id(value: object) -> bool:
    return isinstance(value, str) and ID.fullmatch(value) is not None
