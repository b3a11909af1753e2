"""Checkpoints: restored to the bit, passed over when damaged, removed when old."""

import json

import numpy as np
import pytest

from harness.errors import Interrupted, StoreError
from harness.store import create_store, schema
from harness.store.doctor import examine
from harness.store.leases import LeaseLost
from harness.sweeps.options import WorkerOptions
from harness.workers.checkpoint import Checkpoints
from harness.workers.worker import Listener, work
from tests.harness.crashes import assert_same, runs
from tests.harness.store.test_doctor import DAMAGE
from tests.harness.strategies import ALONE, planned

MADE = {"trunks": 1, "lengths": (40,)}


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calm")
    work(
        create_store(folder),
        planned(*runs(**MADE)),
        options=WorkerOptions(train=ALONE),
    )
    return folder


def stopped(folder, chunks):
    """A store whose worker was stopped in the chunk after so many, all of them kept."""
    store, seen = create_store(folder), []
    listener = Listener(progress=seen.append, stopping=lambda: len(seen) >= chunks)
    with pytest.raises(Interrupted):
        work(
            store,
            planned(*runs(**MADE)),
            listener,
            WorkerOptions(train=ALONE, checkpoint_s=0.0),
        )
    return store


def resume(store):
    """Goes on; returns the step of the first chunk, and what was warned of."""
    steps, warnings = [], []
    listener = Listener(
        progress=lambda m: steps.append(m.step - m.new_steps),
        warning=warnings.append,
    )
    work(
        store,
        planned(*runs(**MADE)),
        listener,
        WorkerOptions(train=ALONE, checkpoint_s=1e9),
    )
    return steps[0], warnings


def test_training_goes_on_at_the_newest_checkpoint(calm, tmp_path):
    store = stopped(tmp_path, 4)
    (trunk,) = [n for n in store.files.names("work") if len(n) == 16]
    # Chunks end at 1, 2, 4, 8, 16, …: two positions stay, and the rows of all parts.
    names = store.files.names(f"work/{trunk}/ckpt")
    manifests = [n for n in names if n.endswith(".json")]
    assert manifests == ["trunk-000000008.json", "trunk-000000016.json"]
    assert len(names) == 4
    parts = store.files.names(f"work/{trunk}/parts")
    assert parts[-1] == "trunk-000000008-000000016.parquet" and len(parts) == 5
    assert resume(store) == (16, [])
    assert_same(calm, tmp_path)
    assert [n for n in store.files.names("work") if len(n) == 16] == []


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("file", ["trunk-000000016.json", "manifest.ocdbt"])
def test_a_damaged_checkpoint_is_passed_over(calm, tmp_path, file, damage):
    store = stopped(tmp_path, 4)
    found = [
        p
        for p in tmp_path.rglob(file)
        if "000000016" in str(p) and "process" not in str(p)
    ]
    for path in found:
        path.write_bytes(DAMAGE[damage](path.read_bytes()))
    assert len(found) == 1
    first, warnings = resume(store)
    assert first == 8 and "checkpoint trunk 16 is passed over" in warnings[0]
    assert_same(calm, tmp_path)


def test_what_was_kept_of_other_trunks_is_passed_over(calm, tmp_path):
    """A folder may hold a population that its first trunk was once trained in."""
    store = stopped(tmp_path, 4)
    for path in tmp_path.rglob("trunk-*.json"):
        manifest = json.loads(path.read_text()) | {"trunks": ["0" * 16]}
        del manifest["seal"]
        path.write_bytes(schema.with_checksum(manifest))
    first, warnings = resume(store)
    assert first == 0 and len(warnings) == 2
    assert all("it is of other trunks" in told for told in warnings)
    assert_same(calm, tmp_path)


def test_without_any_sound_checkpoint_training_starts_over(calm, tmp_path):
    store = stopped(tmp_path, 3)
    for path in tmp_path.rglob("histories.json"):
        path.unlink()
    first, warnings = resume(store)
    assert first == 0 and len(warnings) == 2
    assert_same(calm, tmp_path)


def test_every_flipped_bit_of_a_manifest_is_noticed(tmp_path):
    store = stopped(tmp_path, 2)
    (path,) = tmp_path.rglob("trunk-000000004.json")
    (trunk,) = [n for n in store.files.names("work") if len(n) == 16]
    kept = checkpoints(store, trunk)
    name = f"work/{trunk}/ckpt/{path.stem}"
    sound = path.read_bytes()
    assert kept._manifest(name)["step"] == 4
    noticed = 0
    for at in range(8 * len(sound)):
        changed = bytearray(sound)
        changed[at // 8] ^= 1 << at % 8
        path.write_bytes(changed)
        with pytest.raises(StoreError):
            kept._manifest(name)
        noticed += 1
    assert noticed == 8 * len(sound) > 4000
    # Nor does a whole manifest count under another's name.
    path.with_name("trunk-000000005.json").write_bytes(sound)
    with pytest.raises(StoreError, match="is that of trunk-000000004"):
        kept._manifest(f"work/{trunk}/ckpt/trunk-000000005")
    kept.close()


def checkpoints(store, trunk, check=lambda: None):
    return Checkpoints(
        store,
        [trunk],
        publish_rows=lambda *_: None,
        check=check,
        warn=print,
        every_s=0.0,
    )


def test_a_worker_whose_lease_went_while_it_wrote_leaves_nothing(tmp_path):
    """It was paused between its looks; the trunk is finished and its folder gone."""
    store, looks = create_store(tmp_path), []

    def check():
        looks.append(1)
        if len(looks) == 2:
            raise LeaseLost

    late = checkpoints(store, "0" * 16, check)
    with pytest.raises(LeaseLost):
        late._write("trunk", 4, [np.zeros(3)], [], [])
    late.close()
    assert len(looks) == 2 and store.files.leftovers() == []
    assert [p.name for p in tmp_path.rglob("*")] == ["_store.json", "work"]


def test_scratch_of_a_holder_before_is_cleared_and_counted(tmp_path):
    store = create_store(tmp_path)
    scratch = store.files.scratch(f"work/{'0' * 16}/ckpt/trunk-000000004")
    scratch.mkdir()
    (scratch / "state").write_bytes(b"half")
    found = examine(store, mend=False)
    assert found.leftovers == 1 and "1 file of writes cut off" in found.summary
    checkpoints(store, "0" * 16).close()
    assert not scratch.exists() and examine(store, mend=False).leftovers == 0
