"""Damage of every kind to every kind of file: named, put aside, trained again."""

import shutil

import pytest

from harness.errors import HarnessError, StoreError
from harness.store import (
    add_sweep,
    create_store,
    failures,
    open_store,
    refresh_runs,
    requests,
)
from harness.store.doctor import examine
from harness.store.leases import Leases
from harness.store.read import read_runs
from harness.store.status import holders, sweep_status
from harness.sweeps.options import WorkerOptions
from harness.sweeps.plan import plan_of_record, sweep_record
from harness.workers.worker import work
from tests.harness.crashes import assert_same, runs
from tests.harness.strategies import ALONE, planned

DAMAGE = {
    "emptied": lambda content: b"",
    "cut early": lambda content: content[: len(content) // 10],
    "cut in half": lambda content: content[: len(content) // 2],
    "last byte gone": lambda content: content[:-2],
    "one bit early": lambda content: flipped(content, 0.02),
    "one bit": lambda content: flipped(content, 0.5),
    "one bit late": lambda content: flipped(content, 0.97),
}
FILES = ["sweeps/*.json", "records/*.json", "metrics/*.parquet", "runs.parquet"]
FILES += ["failures/*.json", "orders/*.json", "_store.json", "sweep.json"]


def flipped(content, where):
    changed = bytearray(content)
    changed[int(where * len(content))] ^= 1
    return bytes(changed)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A finished sweep of four runs, one of whose trunks failed once."""
    folder = tmp_path_factory.mktemp("sound") / "store"
    store, made = create_store(folder), planned(*runs(2, (9, 12)))
    add_sweep(store, sweep_record(made, name="small", doc=""))
    trunk_id = made.runs[0].trunk_id
    failures.add_failure(store, trunk_id, [], error=OSError("x"), progress="")
    requests.request_retry(store, trunk_id)
    work(store, made, options=WorkerOptions(train=ALONE))
    return folder


def test_a_sound_store_has_nothing(sound):
    found = examine(open_store(sound), mend=True)
    assert found.ailments == [] and found.summary == "format 3, 14 files, all sound"
    assert not (sound / "quarantine").exists()


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("file", FILES)
def test_damage_is_named_put_aside_and_mended(sound, tmp_path, file, damage):
    folder = shutil.copytree(sound, tmp_path / "store")
    victim = sorted(folder.glob(file))[0]
    name = victim.relative_to(folder).as_posix()
    before = victim.read_bytes()
    victim.write_bytes(DAMAGE[damage](before))
    store = open_store(sound)
    store = type(store)(type(store.files)(folder))
    looked = examine(store, mend=False)
    if file == "runs.parquet" and not looked.ailments:
        # Some bits of a parquet file hold nothing: the table is as it was.
        assert read_runs(store).equals(read_runs(open_store(sound)))
        return
    assert [a.file for a in looked.ailments] == [name]
    assert not (folder / "quarantine").exists()
    damaged = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    found = examine(store, mend=True)
    assert [a.file for a in found.ailments] == [name]
    # Nothing is deleted: each byte is still somewhere.
    kept = [p.read_bytes() for p in folder.rglob("*") if p.is_file()]
    views = {folder / "runs.parquet"}
    assert all(c in kept for p, c in damaged.items() if p not in views)
    if file in ("sweeps/*.json", "sweep.json"):
        add_sweep(store, sweep_record(planned(*runs(2, (9, 12))), name="small", doc=""))
    work(store, plan_of_record(store.sweeps()[-1]), options=WorkerOptions(train=ALONE))
    refresh_runs(store)
    assert_same(sound, folder)
    assert examine(store, mend=False).ailments == []


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_beats_and_parts_of_a_running_sweep(sound, tmp_path, damage):
    """They are signs of life and rows to look at: no run depends on them."""
    folder = shutil.copytree(sound, tmp_path / "store")
    store = open_store(folder)
    trunk_id = "0123456789abcdef"
    lease = Leases(store).claim(trunk_id)
    lease.heartbeat({"run_id": "r", "step": 7})
    rows = next((folder / "metrics").iterdir()).read_bytes()
    store.files.publish(f"work/{trunk_id}/parts/trunk-0-7.parquet", rows)
    for name in ("beat-000001.json", "parts/trunk-0-7.parquet"):
        victim = folder / "work" / trunk_id / name
        victim.write_bytes(DAMAGE[damage](victim.read_bytes()))
    (holder,) = holders(store)
    assert holder.alive and holder.step in (7, None)
    lease.check()
    found = examine(store, mend=True)
    named = {a.file.rpartition("/")[2] for a in found.ailments}
    assert named <= {"beat-000001.json", "trunk-0-7.parquet"} and found.reopened == []
    lease.check()


def test_readers_name_a_damaged_file_and_write_nothing(sound, tmp_path):
    folder = shutil.copytree(sound, tmp_path / "store")
    (sweep,) = (folder / "sweeps").iterdir()
    sweep.write_bytes(flipped(sweep.read_bytes(), 0.5))
    with pytest.raises(HarnessError, match=sweep.name):
        sweep_status(open_store(folder))


def test_strangers_and_newer_formats_are_left_alone(sound, tmp_path):
    folder = shutil.copytree(sound, tmp_path / "store")
    (folder / "records" / "notes.txt").write_text("mine")
    found = examine(open_store(folder), mend=True)
    assert [(a.file, a.done) for a in found.ailments] == [
        ("records/notes.txt", "left alone")
    ]
    (folder / "_store.json").write_text('{"format": 99}')
    store = type(open_store(sound))(type(open_store(sound).files)(folder))
    with pytest.raises(StoreError, match="format 99; this harness reads format 3"):
        examine(store, mend=True)
    (tmp_path / "empty").mkdir()
    store = type(store)(type(store.files)(tmp_path / "empty"))
    with pytest.raises(StoreError, match="not a results folder"):
        examine(store, mend=True)
