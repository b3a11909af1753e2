"""Packs: each run is seen once and whole, whoever packs, reads or dies meanwhile."""

import errno
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import duckdb
import pandas as pd
import polars
import pyarrow.parquet as pq
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from analysis.errors import AnalysisError
from analysis.tables.curves import read_metrics
from harness.errors import StoreError
from harness.store import (
    Store,
    create_store,
    faults,
    open_store,
    refresh_runs,
    schema,
)
from harness.store.doctor import examine
from harness.store.files import LocalFiles
from harness.store.packing import writer
from harness.store.packing.pack import TIER
from harness.store.packing.pack import pack as pack_store
from harness.store.packing.unpack import unpack
from harness.store.packing.writer import GROUP
from harness.store.packs import index_name
from harness.store.read import MARKER, copy_tables, files_at, read_runs
from tests.faults.python import fail, late_listings
from tests.harness.store.packers import (
    assert_right,
    check,
    cut_off,
    made,
    publish,
)
from tests.harness.store.test_doctor import DAMAGE
from tests.harness.store.test_objects import bucket, server  # noqa: F401

RUNS = [made(seed) for seed in range(40)]
IDS = [run.run_id for run in RUNS]


def loose_files(folder):
    return [p.name for p in folder.rglob("*") if p.stem in IDS]


@pytest.fixture
def mixed(tmp_path):
    """Two packs of ten runs, and five loose ones."""
    store = create_store(tmp_path / "store")
    for some in (RUNS[:10], RUNS[10:20]):
        for run in some:
            publish(store, run)
        pack_store(store)
    for run in RUNS[20:25]:
        publish(store, run)
    return store


def test_a_store_is_read_alike_packed_mixed_and_loose(mixed, tmp_path):
    assert len(mixed.packs.current().packs) == 2
    check(mixed, IDS[:25])
    refresh_runs(mixed)
    before = read_runs(mixed)
    curves = read_metrics(mixed.folder, "loss", "eval").rows
    told = pack_store(mixed)
    assert (told.runs, told.packs, told.damaged) == (5, 3, 0)
    assert loose_files(mixed.folder) == []
    fresh = open_store(mixed.folder)
    check(fresh, IDS[:25])
    refresh_runs(fresh, anew=True)
    assert read_runs(fresh).equals(before)
    pd.testing.assert_frame_equal(
        read_metrics(mixed.folder, "loss", "eval").rows, curves
    )
    assert unpack(fresh, tmp_path / "loose") == 25
    loose = open_store(tmp_path / "loose")
    check(loose, IDS[:25])
    assert len(loose_files(loose.folder)) == 50 and not loose.packs.current().packs
    refresh_runs(loose, anew=True)
    assert read_runs(loose).equals(before)


def test_the_way_there_and_back_gives_the_same_bytes(tmp_path):
    store = create_store(tmp_path / "store")
    for run in RUNS[:8]:
        publish(store, run)
    refresh_runs(store)
    before = {
        p.relative_to(store.folder): p.read_bytes()
        for p in store.folder.rglob("*")
        if p.is_file()
    }
    pack_store(store)
    unpack(store, tmp_path / "loose")
    after = {
        p.relative_to(tmp_path / "loose"): p.read_bytes()
        for p in (tmp_path / "loose").rglob("*")
        if p.is_file()
    }
    assert after == before
    with pytest.raises(StoreError, match="is there already; name a new folder"):
        unpack(store, tmp_path / "loose")


def test_a_packed_store_is_read_in_one_line_by_each_library(mixed):
    pack_store(mixed)
    folder = mixed.folder / "metrics"
    frames = [
        pd.read_parquet(folder),
        polars.read_parquet(folder / "*.parquet").to_pandas(),
        duckdb.sql(f"select * from '{folder}/*.parquet'").df(),
        pq.read_table(folder).to_pandas(),
    ]
    for frame in frames:
        assert Counter(frame["run_id"]) == dict.fromkeys(IDS[:25], 6)
        assert list(frame.columns) == schema.METRICS.names
        ordered = frame.sort_values(["run_id", "step", "split"], ignore_index=True)
        first = frames[0].sort_values(["run_id", "step", "split"], ignore_index=True)
        pd.testing.assert_frame_equal(ordered, first, check_dtype=False)


def test_packing_again_changes_nothing(mixed):
    pack_store(mixed)
    before = {p: p.stat().st_mtime_ns for p in mixed.folder.rglob("*")}
    assert pack_store(mixed).runs == 0
    assert {p: p.stat().st_mtime_ns for p in mixed.folder.rglob("*")} == before


def test_packs_of_one_size_become_one(tmp_path):
    store = create_store(tmp_path)
    for count, run in enumerate(RUNS[: 2 * TIER], 1):
        publish(store, run)
        pack_store(store)
        assert len(store.packs.current().packs) <= TIER
        check(store, IDS[:count])
    assert max(p.runs for p in store.packs.current().packs.values()) >= TIER
    # Nothing is left of those that were merged, and of older indexes but one.
    assert len(list((tmp_path / "metrics").iterdir())) == len(
        store.packs.current().packs
    )
    assert len(list((tmp_path / "packed").glob("index-*"))) == 2


def test_a_large_pack_is_written_in_several_files(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "LARGEST", 6000)
    monkeypatch.setattr(writer, "GROUP", 4)
    store = create_store(tmp_path)
    for run in RUNS:
        publish(store, run)
    assert pack_store(store).packs > 1
    check(open_store(tmp_path), IDS)
    assert GROUP > 4


def test_runs_that_are_not_sound_are_left_as_they_are(mixed):
    victim = mixed.folder / "metrics" / f"{IDS[20]}.parquet"
    victim.write_bytes(victim.read_bytes()[:-9])
    with pytest.warns(UserWarning, match=f"not packed: .*{IDS[20]}.parquet"):
        told = pack_store(mixed)
    assert (told.runs, told.damaged) == (4, 1)
    assert mixed.finished() == set(IDS[:25]) and victim.exists()


def test_a_store_of_the_format_before_is_read_and_marked_when_it_is_packed(mixed):
    unpacked = mixed.folder.parent / "loose"
    unpack(mixed, unpacked)
    (unpacked / MARKER).write_bytes(schema.json_bytes({"format": 2}))
    store = open_store(unpacked)
    check(store, IDS[:25])
    pack_store(store)
    # A program that knows no packs would train all of them again.
    assert store.json(MARKER) == {"format": schema.FORMAT}


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_packer_that_dies_at_any_change_loses_and_doubles_nothing(tmp_path, when):
    whole = tmp_path / "whole"
    store = create_store(whole)
    # So that it packs, merges, and removes what was merged.
    for run in RUNS[:TIER]:
        publish(store, run)
        pack_store(store)
    for run in RUNS[TIER : TIER + 2]:
        publish(store, run)
    ids, n = IDS[: TIER + 2], 0
    while True:
        n += 1
        folder = tmp_path / f"{when}{n}"
        shutil.copytree(whole, folder)
        died = cut_off(folder, n, when, pack_store)
        check(open_store(folder), ids)
        rows = read_metrics(folder, "loss", "eval").rows
        assert Counter(rows["run_id"]) == dict.fromkeys(ids, 3)
        assert examine(open_store(folder), mend=False).reopened == []
        # A worker that publishes meanwhile, and another packer, go on from there.
        publish(open_store(folder), RUNS[30])
        pack_store(open_store(folder))
        check(open_store(folder), [*ids, IDS[30]])
        assert loose_files(folder) == []
        assert Counter(pd.read_parquet(folder / "metrics")["run_id"]) == (
            dict.fromkeys([*ids, IDS[30]], 6)
        )
        shutil.rmtree(folder)
        if not died:
            break
    assert n > 20


def test_of_two_packers_at_once_one_discards_what_it_wrote(mixed, monkeypatch):
    other, real = open_store(mixed.folder), LocalFiles.publish_once
    raced = []

    def publish_once(files, name, content):
        if files is mixed.files and name == index_name(3) and not raced:
            raced.append(pack_store(other))
        return real(files, name, content)

    monkeypatch.setattr(LocalFiles, "publish_once", publish_once)
    publish(mixed, RUNS[30])
    pack_store(mixed)
    assert raced and raced[0].runs == 6
    check(open_store(mixed.folder), [*IDS[:25], IDS[30]])
    rows = pd.read_parquet(mixed.folder / "metrics")
    assert Counter(rows["run_id"]) == dict.fromkeys([*IDS[:25], IDS[30]], 6)


@pytest.mark.parametrize("file", ["metrics/packed-", "packed/records-"])
def test_a_packer_whose_files_the_other_cleans_up_begins_again(mixed, file):
    """Between its writing of a file and its reading of it another packs all."""

    class SlowFiles(LocalFiles):
        met = False

        def publish(self, name, content, *, durable=True):
            super().publish(name, content, durable=durable)
            if name.startswith(file) and not self.met:
                self.met = True
                publish(mixed, RUNS[30])
                pack_store(open_store(mixed.folder))

    late = SlowFiles(mixed.folder)
    pack_store(Store(late))
    assert late.met
    check(open_store(mixed.folder), [*IDS[:25], IDS[30]])
    assert not loose_files(mixed.folder)
    named = open_store(mixed.folder).packs.current().packs
    assert writer.pack_names(mixed) == set(named)


def test_a_reader_that_is_overtaken_looks_again(mixed, monkeypatch):
    """All is packed, and merged, between any two of its steps."""
    overtaken = Store(LocalFiles(mixed.folder))
    real, calls = LocalFiles.names, []

    def names(files, folder):
        told = real(files, folder)
        if files is overtaken.files and len(calls) < 6:
            calls.append(folder)
            publish(mixed, RUNS[30 + len(calls)])
            pack_store(mixed)
        return told

    monkeypatch.setattr(LocalFiles, "names", names)
    assert set(IDS[:25]) <= overtaken.finished()
    assert len(calls) == 6
    for run_id in IDS[:25]:
        assert overtaken.is_finished(run_id)
        assert_right(overtaken, run_id)


def test_packs_that_vanish_under_a_reader_are_read_from_their_successors(mixed):
    reader = open_store(mixed.folder)
    reader.packs.current()
    for run in RUNS[25:40]:
        publish(mixed, run)
        pack_store(mixed)
    for run_id in IDS[:25]:
        assert_right(reader, run_id)


def test_four_workers_two_packers_and_two_readers_race(tmp_path):
    create_store(tmp_path)
    count = 60
    roles = [("publish", str(1000 + count * k), str(count)) for k in range(4)]
    roles += 2 * [("pack", str(4 * count))] + 2 * [("read", str(4 * count))]
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.harness.store.packers", tmp_path, *role],
            stdout=subprocess.PIPE,
            text=True,
        )
        for role in roles
    ]
    told = [child.communicate(timeout=240)[0] for child in children]
    assert [child.returncode for child in children] == [0] * 8
    assert len({line.split()[2] for line in told if line}) == 1
    store = open_store(tmp_path)
    pack_store(store)
    ids = [made(1000 + k).run_id for k in range(4 * count)]
    check(store, ids)
    rows = pd.read_parquet(tmp_path / "metrics")
    assert Counter(rows["run_id"]) == dict.fromkeys(ids, 6)
    assert not list((tmp_path / "records").iterdir())


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("file", ["metrics/packed-000001*", "packed/records-000001*"])
def test_the_doctor_saves_the_sound_runs_of_a_damaged_pack(
    mixed, monkeypatch, file, damage
):
    monkeypatch.setattr(writer, "GROUP", 3)
    for run in RUNS[25:37]:
        publish(mixed, run)
    pack_store(mixed)
    refresh_runs(mixed)
    victim = next(mixed.folder.glob(file.replace("000001", "000003")))
    before = victim.read_bytes()
    victim.write_bytes(DAMAGE[damage](before))
    store = open_store(mixed.folder)
    looked = examine(store, mend=False)
    assert len(looked.ailments) == 1 and looked.reopened == []
    found = examine(open_store(mixed.folder), mend=True)
    assert set(found.reopened) <= set(IDS[20:37])
    store = open_store(mixed.folder)
    check(store, set(IDS[:37]) - set(found.reopened))
    if damage == "one bit early":
        # A group of three runs, or none at all where nothing is said by the bit.
        assert len(found.reopened) <= 3
    kept = [p.read_bytes() for p in mixed.folder.rglob("*") if p.is_file()]
    assert DAMAGE[damage](before) in kept
    for run in RUNS[:37]:
        if run.run_id in found.reopened:
            assert publish(store, run)
    pack_store(store)
    refresh_runs(store)
    check(open_store(mixed.folder), IDS[:37])
    assert examine(open_store(mixed.folder), mend=False).ailments == []


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_doctor_makes_a_damaged_index_anew(mixed, damage):
    pack_store(mixed)
    refresh_runs(mixed)
    victim = mixed.folder / index_name(3)
    victim.write_bytes(DAMAGE[damage](victim.read_bytes()))
    store = open_store(mixed.folder)
    try:
        store.finished()
    except StoreError as error:
        assert "index-000003.parquet is damaged" in str(error)
    found = examine(open_store(mixed.folder), mend=True)
    assert found.reopened == []
    check(open_store(mixed.folder), IDS[:25])
    assert examine(open_store(mixed.folder), mend=False).ailments == []


def test_a_missing_file_of_a_pack_is_named(mixed):
    victim = next(mixed.folder.glob("packed/records-000001*"))
    victim.unlink()
    store = open_store(mixed.folder)
    with pytest.raises(StoreError, match=rf"{victim.name} is missing, with 10 runs"):
        store.record(IDS[0])
    found = examine(store, mend=True)
    assert sorted(found.reopened) == sorted(IDS[:10])
    check(open_store(mixed.folder), IDS[10:25])


def test_a_link_that_leads_nowhere_is_named_and_not_waited_for(mixed, tmp_path):
    lost = mixed.folder / "metrics" / f"{IDS[30]}.parquet"
    lost.symlink_to("nowhere")
    assert (
        f"metrics/{lost.name} is damaged"
        in (read_metrics(mixed.folder, "loss", "eval").damaged[0])
    )
    with pytest.raises(StoreError, match=r"lists a file that is not there: .*metrics"):
        copy_tables(mixed, tmp_path / "copy")
    (mixed.folder / index_name(3)).symlink_to("nowhere")
    with pytest.raises(StoreError, match=r"index-000003\.parquet leads nowhere"):
        open_store(mixed.folder).finished()
    with pytest.raises(AnalysisError, match=r"index-000003\.parquet is damaged"):
        read_metrics(mixed.folder, "loss", "eval")


CALLS = {
    "a listing": ("listdir", "*/records"),
    "a listing of packs": ("listdir", "*/packed"),
    "a small file": ("open", "*records/*.json"),
    "the rename of a pack": ("replace", "*packed-*"),
    "the name of an index": ("link", "*index-*"),
    "a removal": ("unlink", "*records/*.json"),
}


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO], ids=errno.errorcode.get)
@pytest.mark.parametrize("call", CALLS)
def test_a_fault_of_a_moment_costs_a_packer_nothing(mixed, monkeypatch, call, number):
    name, path = CALLS[call]
    with monkeypatch.context() as patch:
        module = Path if name == "unlink" else os
        hits = fail(patch, name, number, path=path, module=module)
        assert pack_store(mixed).runs == 5
    assert len(hits) == 1 and mixed.files.faults.count >= 1
    check(open_store(mixed.folder), IDS[:25])
    assert loose_files(mixed.folder) == []


def test_an_index_whose_reply_was_lost_is_ones_own(mixed, monkeypatch):
    with monkeypatch.context() as patch:
        hits = fail(patch, "link", errno.EEXIST, path="*index-000003*", after=True)
        pack_store(mixed)
    assert len(hits) == 1
    check(open_store(mixed.folder), IDS[:25])
    assert len(mixed.packs.current().packs) == 3


def test_a_full_disk_stops_a_packer_and_loses_nothing(mixed, monkeypatch):
    for call in ("replace", "fsync"):
        with monkeypatch.context() as patch:
            fail(patch, call, errno.ENOSPC, count=None)
            with pytest.raises(StoreError, match="the disk is full"):
                pack_store(mixed)
        check(open_store(mixed.folder), IDS[:25])
        assert examine(open_store(mixed.folder), mend=False).reopened == []
    assert pack_store(mixed).runs == 5
    check(open_store(mixed.folder), IDS[:25])


def test_packs_that_listings_show_late_are_found_by_name(mixed, monkeypatch):
    reader = open_store(mixed.folder)
    reader.packs.current()
    hidden = late_listings(monkeypatch, 30.0, path="index-000003*")
    pack_store(mixed)
    check(reader, IDS[:25])
    check(open_store(mixed.folder), IDS[:25])
    assert hidden


@pytest.mark.parametrize("seed", range(4))
def test_one_fault_in_a_hundred_operations_changes_nothing(tmp_path, monkeypatch, seed):
    """Packers and publishers, while each call of the system may fail for a moment."""
    monkeypatch.setattr(faults, "FIRST_PAUSE_S", 1e-4)
    rng, store = random.Random(seed), create_store(tmp_path / "store")
    count = [0]

    def flaky(real):
        def called(*args, **kwargs):
            if rng.random() < 0.01:
                count[0] += 1
                number = rng.choice([errno.ESTALE, errno.EIO, errno.EBUSY])
                raise OSError(number, os.strerror(number), str(args[0]))
            return real(*args, **kwargs)

        return called

    with monkeypatch.context() as patch:
        for name in ("open", "listdir", "replace", "link", "fsync", "lstat"):
            patch.setattr(os, name, flaky(getattr(os, name)))
        for number, run in enumerate(RUNS, 1):
            publish(store, run)
            if number % 3 == 0:
                pack_store(store)
                assert store.finished() == set(IDS[:number])
    assert count[0] > 10
    pack_store(store)
    check(open_store(store.folder), IDS)
    rows = pd.read_parquet(store.folder / "metrics")
    assert Counter(rows["run_id"]) == dict.fromkeys(IDS, 6)


class RequestCounter:
    def __init__(self, files):
        self.files, self.counts = files, Counter()

    def __getattr__(self, name):
        attribute = getattr(self.files, name)
        if name in ("read", "names", "exists", "walk", "age"):
            self.counts[name] += 1
        return attribute


def test_an_object_store_is_packed_and_opened_with_few_requests(
    bucket,  # noqa: F811
    tmp_path,
):
    store = create_store(bucket)
    for run in RUNS[:12]:
        publish(store, run)
    assert pack_store(store).runs == 12
    reader = Store(RequestCounter(files_at(bucket)))
    check_once = reader.packs.in_order(IDS[:12])
    assert reader.finished() == set(IDS[:12])
    for run_id in check_once:
        assert_right(reader, run_id)
    # The index, and one request for each of the two files of the pack.
    assert reader.files.counts["read"] == 3
    assert reader.files.counts["exists"] == 0 and reader.files.counts["names"] <= 4
    publish(store, RUNS[12])
    copy_tables(open_store(bucket), tmp_path / "copy")
    check(Store(LocalFiles(tmp_path / "copy")), IDS[:13])
    pack_store(store)
    copy_tables(open_store(bucket), tmp_path / "copy")
    check(Store(LocalFiles(tmp_path / "copy")), IDS[:13])
    rows = read_metrics(tmp_path / "copy", "loss", "eval").rows
    assert Counter(rows["run_id"]) == dict.fromkeys(IDS[:13], 3)
    refresh_runs(store)
    assert examine(open_store(bucket), mend=False).ailments == []


class Packing(RuleBasedStateMachine):
    """Publishing, packing, dying, doctoring and late publishing, in any order."""

    @initialize()
    def begin(self):
        self.folder = Path(self.make_folder())
        self.store = create_store(self.folder / "store")
        self.ids, self.next = [], 0

    make_folder = None

    @rule(count=st.integers(1, 3))
    def publish(self, count):
        for run in RUNS[self.next : self.next + count]:
            publish(self.store, run)
            self.ids.append(run.run_id)
        self.next += count

    @rule(late=st.integers(0, 39))
    def publish_late(self, late):
        """A worker that lost its lease, and does not know that the run is done."""
        if late < self.next:
            publish(self.store, RUNS[late])

    @rule()
    def pack(self):
        pack_store(self.store)
        assert not loose_files(self.folder)

    @rule(n=st.integers(1, 12), when=st.sampled_from(["before", "after"]))
    def pack_and_die(self, n, when):
        cut_off(self.store.folder, n, when, pack_store)

    @rule()
    def extend(self):
        """Another process opens the store."""
        self.store = open_store(self.folder / "store")
        refresh_runs(self.store)
        assert read_runs(self.store).num_rows == len(set(self.ids))

    @rule()
    def visit_the_doctor(self):
        assert examine(open_store(self.folder / "store"), mend=True).reopened == []

    @invariant()
    def each_run_is_seen_once(self):
        if hasattr(self, "store"):
            check(self.store, set(self.ids))
            fresh = open_store(self.folder / "store")
            assert fresh.finished() == set(self.ids)
            if self.ids:
                rows = read_metrics(self.folder / "store", "loss", "eval").rows
                assert Counter(rows["run_id"]) == dict.fromkeys(self.ids, 3)

    def teardown(self):
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


def test_publish_pack_die_read_and_extend_in_any_order(tmp_path_factory):
    from hypothesis.stateful import run_state_machine_as_test

    Packing.make_folder = staticmethod(lambda: tmp_path_factory.mktemp("packing"))
    run_state_machine_as_test(
        Packing,
        settings=settings(max_examples=15, stateful_step_count=20, deadline=None),
    )
