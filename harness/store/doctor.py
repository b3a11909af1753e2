"""Verifies every file of a store; what is damaged is put aside, nothing is deleted.

A run whose record or metrics are damaged loses its record, so that it trains again; of
a damaged pack only the runs that cannot be read. A damaged `runs.parquet` is made anew
from the records, an index of packs from the packs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import partial

from harness.errors import StoreError, UnknownTagError
from harness.specs.canonical import JsonObject
from harness.store import schema
from harness.store.checks import Foreign, check_metrics, check_spec
from harness.store.diagnosis import Damage, Diagnosis
from harness.store.lease_files import LEASE_FILE
from harness.store.packing.mend import check_pack, rebuild_index, rewrite
from harness.store.packs import (
    METRICS_FILE,
    PACKED,
    RECORDS_FILE,
    index_name,
    metrics_file,
    newest,
    records_file,
)
from harness.store.read import (
    ID,
    MARKER,
    RUNS,
    SWEEP,
    Store,
    follow_marker,
    is_sweep,
    metrics_name,
    open_store,
    record_name,
)
from harness.store.weights import FOLDER, KEPT_RUN, KEPT_TRUNK, check_tensors
from harness.store.write import quarantine, refresh_runs, view_of, write_marker

JSON_NAME = re.compile(r"([0-9a-f]{16})\.json")
MANIFEST = re.compile(r"(?:trunk|[0-9a-f]{16})-\d{9}\.json")
METRICS_NAME = re.compile(r"([0-9a-f]{16})\.parquet")
PACK_FILE = re.compile(f"{RECORDS_FILE.pattern}|{METRICS_FILE.pattern}")
FILES_OF_PACK = (records_file, metrics_file)


def examine(store: Store, *, mend: bool) -> Diagnosis:
    """Reads every file; with `mend`, moves the damaged ones to `quarantine/`.

    Raises `StoreError` if this is no store, or one of a newer format.
    """
    visit = _Visit(store, mend)
    visit.marker()
    visit.newest_sweep()
    visit.folder("sweeps", JSON_NAME, visit.sweep)
    visit.packs()
    visit.folder("records", JSON_NAME, visit.record)
    visit.folder("metrics", METRICS_NAME, visit.metrics)
    visit.folder("failures", re.compile(r"[0-9a-f]{16}\.\d{6}\.json"), visit.json)
    visit.folder("orders", re.compile(r"[0-9a-f]{16}\.\w+\.json"), visit.json)
    visit.folder("populations", JSON_NAME, visit.json)
    visit.weights()
    visit.work()
    visit.view()
    visit.diagnosis.leftovers += len(store.files.leftovers())
    return visit.diagnosis


class _Visit:
    def __init__(self, store: Store, mend: bool) -> None:
        self.store, self.mend = store, mend
        self.diagnosis = Diagnosis()
        self._records: dict[str, JsonObject] = {}
        self._packed: frozenset[str] = frozenset()

    def marker(self) -> None:
        """Nothing is touched in a folder that is not known to be a store."""
        inside = [
            n
            for sub in ("records", "sweeps", PACKED)
            for n in self.store.files.names(sub)
        ]
        if not inside and not self.store.files.exists(MARKER):
            raise StoreError(f"{self.store.uri} is not a results folder")
        self.diagnosis.files += 1
        try:
            marker = self.store.json(MARKER)
            version = marker.get("format")
            follow_marker(self.store, marker)
        except StoreError as error:
            self._ill(MARKER, str(error), self._new_marker)
            return
        other = isinstance(version, int) and version > schema.FORMAT
        if other or version in schema.OLDER_FORMATS:
            open_store(self.store.uri)
        self.diagnosis.format = version if isinstance(version, int) else None
        if version not in schema.READ_FORMATS:
            self._ill(MARKER, f"holds no format but {version!r}", self._new_marker)

    def folder(
        self, folder: str, pattern: re.Pattern[str], check: Callable[[str], None]
    ) -> None:
        """Checks each file of a folder; one whose name does not belong is told."""
        for base in self.store.files.names(folder):
            if folder == "metrics" and METRICS_FILE.fullmatch(base):
                continue
            self.diagnosis.files += 1
            name = f"{folder}/{base}"
            if base.partition(".")[0] in self._packed:
                # Left by a packer that was cut off; the next one removes it.
                self.diagnosis.leftovers += 1
            elif pattern.fullmatch(base):
                check(name)
            else:
                self._ill(name, "does not belong here", lambda: "left alone")

    def newest_sweep(self) -> None:
        """`sweep.json` is whole; without it the youngest sweep is the newest."""
        if self.store.files.exists(SWEEP):
            self.diagnosis.files += 1
            self.json(SWEEP)

    def sweep(self, name: str) -> None:
        """A sweep holds what its name says, and specs that give the ids beside them."""
        try:
            sweep = self.store.json(name)
            if not is_sweep(sweep) or f"sweeps/{sweep['sweep_id']}.json" != name:
                raise StoreError("does not hold the sweep of its name")
            for point in sweep["points"]:
                self._check_spec(point["spec"], point["run_id"])
        except (StoreError, Foreign) as error:
            self._judge(name, error, lambda: self._aside(name))

    def packs(self) -> None:
        """The newest index is whole, and each pack is what it says."""
        self.diagnosis.files += len(self.store.files.names(PACKED))
        try:
            index = self.store.packs.current()
        except StoreError as error:
            number = newest(self.store.files.names(PACKED))
            self._ill(index_name(number), str(error), lambda: self._new_index(number))
            if not self.mend:
                return
            index = self.store.packs.current()
        for name in sorted(index.packs):
            self.diagnosis.files += 1
            try:
                for record in check_pack(self.store, index, name):
                    self._records[record["run_id"]] = record
                    self._check_spec(record.get("spec"), record["run_id"])
            except (StoreError, Foreign) as error:
                self._judge(records_file(name), error, partial(self._rewrite, name, ()))
        index = self.store.packs.current()
        self._packed = index.run_ids
        names = self.store.files.names(PACKED) + self.store.files.names("metrics")
        known = {f(n).partition("/")[2] for n in index.packs for f in FILES_OF_PACK}
        self.diagnosis.leftovers += sum(
            base not in known for base in names if PACK_FILE.fullmatch(base)
        )

    def record(self, name: str) -> None:
        """A record is of its run: the id made from its spec is its name."""
        run_id = name.removeprefix("records/").removesuffix(".json")
        try:
            record = self.store.json(name)
            if (
                not isinstance(record.get("row"), dict)
                or record.get("run_id") != run_id
            ):
                raise StoreError("is not the record of its run")
            if not self.store.files.exists(metrics_name(run_id)):
                raise StoreError("has no metrics file")
            self._records[run_id] = record
            self._check_spec(record.get("spec"), run_id)
        except (StoreError, Foreign) as error:
            self._judge(name, error, lambda: self._reopen(run_id))

    def metrics(self, name: str) -> None:
        """Metrics are sound parquet of one run, with the checksum in its record."""
        run_id = name.removeprefix("metrics/").removesuffix(".parquet")
        try:
            content = self.store.files.read(name)
            check_metrics(content, run_id, name)
            self._check_stamp(content, run_id)
        except (StoreError, FileNotFoundError) as error:
            self._ill(name, str(error), lambda: self._reopen(run_id))

    def json(self, name: str) -> None:
        """Any JSON object; reading it verifies its checksum, if it has one."""
        try:
            self.store.json(name)
        except StoreError as error:
            self._ill(name, str(error), lambda: self._aside(name))

    def weights(self) -> None:
        """Kept weights, and kept ends of trunks, are those that were written."""
        for run_id in filter(ID.fullmatch, self.store.files.names(FOLDER)):
            for facts, tensors in (KEPT_RUN, KEPT_TRUNK):
                name = f"{FOLDER}/{run_id}/{facts}"
                if self.store.files.exists(name):
                    self.diagnosis.files += 2
                    self._kept(name, f"{FOLDER}/{run_id}/{tensors}", run_id)

    def _kept(self, facts: str, tensors: str, run_id: str) -> None:
        try:
            check_tensors(self.store, facts, tensors)
        except StoreError as error:
            cure = self._reopen if facts.endswith(KEPT_RUN[0]) else (lambda _: "")
            self._ill(
                tensors,
                str(error),
                lambda: "; ".join(
                    filter(
                        None, [self._aside(facts), self._aside(tensors), cure(run_id)]
                    )
                ),
            )

    def work(self) -> None:
        """Lease files and rows are whole; a checkpoint is verified when it is read."""
        files = self.store.files
        for trunk_id in filter(ID.fullmatch, files.names("work")):
            # Listed, not walked: what is a folder where a claim belongs is named too.
            for base in filter(LEASE_FILE.fullmatch, files.names(f"work/{trunk_id}")):
                self.diagnosis.files += 1
                check = self.claim if base.startswith("claim") else self.json
                check(f"work/{trunk_id}/{base}")
        for name in files.walk("work"):
            if MANIFEST.fullmatch(name.rpartition("/")[2]):
                self.diagnosis.files += 1
                self.json(name)
            elif name.endswith(".parquet"):
                self.diagnosis.files += 1
                self.rows(name)

    def claim(self, name: str) -> None:
        """A damaged claim still holds, as its generation is in its name: it stays."""
        try:
            claim = self.store.json(name)
            if not isinstance(claim.get("trunks"), list):
                raise StoreError("names no trunks")
        except StoreError as error:
            self._ill(name, str(error), lambda: "left alone: it holds the usual time")

    def rows(self, name: str) -> None:
        """Rows of an unfinished run."""
        try:
            schema.read_parquet(self.store.files.read(name), name)
        except (StoreError, FileNotFoundError) as error:
            self._ill(name, str(error), lambda: self._aside(name))

    def view(self) -> None:
        """The view says what the records say, less those that are damaged."""
        self.diagnosis.files += 1
        if self.diagnosis.reopened and self.mend:
            self._new_view()
            return
        try:
            table = schema.read_parquet(self.store.files.read(RUNS), RUNS)
            if not self.diagnosis.ailments and not table.equals(view_of(self.store)):
                raise StoreError("does not say what the records say")
        except (StoreError, FileNotFoundError) as error:
            self._ill(RUNS, str(error), self._new_view)

    def _check_spec(self, spec: object, run_id: str) -> None:
        """A family or source of the user's own is no damage, only not known here."""
        try:
            check_spec(spec, run_id)
        except UnknownTagError as error:
            unknown = f"{error.kind} {error.name!r}"
            if unknown not in self.diagnosis.unknown:
                self.diagnosis.unknown.append(unknown)

    def _check_stamp(self, content: bytes, run_id: str) -> None:
        stamp = self._records.get(run_id, {}).get("metrics")
        if (
            isinstance(stamp, dict)
            and stamp.get("sha256") != hashlib.sha256(content).hexdigest()
        ):
            raise StoreError("does not have the checksum in its run's record")

    def _judge(self, name: str, error: Exception, cure: Callable[[], str]) -> None:
        if isinstance(error, Foreign):
            # Not damage: this installation does not know what made it.
            self._ill(name, f"cannot be verified: {error}", lambda: "left alone")
        else:
            self._ill(name, str(error), cure)

    def _ill(self, name: str, wrong: str, cure: Callable[[], str]) -> None:
        done = cure() if self.mend else "left as it is"
        self.diagnosis.ailments.append(Damage(name, " ".join(wrong.split()), done))

    def _aside(self, name: str) -> str:
        if not self.store.files.exists(name):
            return "gone"
        return f"moved to {quarantine(self.store, name)}"

    def _reopen(self, run_id: str) -> str:
        """Puts record and metrics of a run aside; the record first, as it says done."""
        if place := self.store.packs.current().places.get(run_id):
            return self._rewrite(place[0], (run_id,))
        moved = [self._aside(n) for n in (record_name(run_id), metrics_name(run_id))]
        self._records.pop(run_id, None)
        if run_id not in self.diagnosis.reopened:
            self.diagnosis.reopened.append(run_id)
        return f"run {run_id} is open again ({', '.join(moved)})"

    def _rewrite(self, name: str, without: tuple[str, ...]) -> str:
        """Puts a pack aside, and all its runs that are sound into another."""
        lost = rewrite(self.store, name, without)
        moved = [self._aside(file(name)) for file in FILES_OF_PACK]
        self.diagnosis.reopened += sorted(lost)
        return (
            f"its other runs are in a new pack, {len(lost)} are open again "
            f"({', '.join(moved)})"
        )

    def _new_index(self, number: int) -> str:
        moved = self._aside(index_name(number))
        return f"{moved}, made anew of {rebuild_index(self.store)} packed runs"

    def _new_marker(self) -> str:
        moved = self._aside(MARKER)
        write_marker(self.store)
        return f"{moved}, written anew"

    def _new_view(self) -> str:
        refresh_runs(self.store, anew=True)
        return "made anew from the records"
