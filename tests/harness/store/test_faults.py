"""Real faults of disks: each errno, each operation, also where the reply is lost."""

import errno
import json
import os
import threading
import time
from pathlib import Path

import pytest

from harness.errors import DamagedFileError, StoreError, UnreachableError
from harness.store import (
    add_record,
    create_store,
    exclusive,
    failures,
    faults,
    open_store,
    requests,
)
from harness.store.doctor import examine
from harness.store.files import LocalFiles
from harness.store.leases import Leases, claim_all
from harness.store.status import holders, sweep_status
from harness.workers.worker import Listener, work
from tests.faults.python import FINAL, TRANSIENT, fail, late_listings
from tests.harness.crashes import runs
from tests.harness.store.test_leases import TRUNK, Clock, elsewhere
from tests.harness.strategies import planned

OPERATIONS = {
    "read": ("open", lambda f: f.read("a.json") == b"1"),
    "list": ("listdir", lambda f: f.names("sub") == ["b.json"]),
    "publish, written": ("fsync", lambda f: f.publish("c", b"2") is None),
    "publish, moved": ("replace", lambda f: f.publish("c", b"2") is None),
    "publish once": ("link", lambda f: f.publish_once("c", b"2")),
    "move": ("rename", lambda f: f.move("a.json", "c") is None),
    "folder": ("rename", lambda f: f.put_folder(folder(f), "c") is None),
    "remove": ("unlink", lambda f: f.remove("a.json") is None),
}
"""The call of the system that each operation makes, and how to see that it is done."""
REPEATED = ["publish, moved", "publish once", "move", "folder"]
"""Operations whose call changes something: its reply may be all that is lost."""


def folder(files):
    made = files.scratch("c")
    if not made.exists() and not files.exists("c"):
        made.mkdir()
        (made / "x").write_bytes(b"2")
    return made


@pytest.fixture
def files(tmp_path):
    made = LocalFiles(tmp_path)
    made.publish("a.json", b"1")
    made.publish("sub/b.json", b"1")
    return made


@pytest.mark.parametrize("number", TRANSIENT, ids=errno.errorcode.get)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_transient_fault_is_retried_and_counted(
    files, monkeypatch, operation, number
):
    call, done = OPERATIONS[operation]
    hits = fail(monkeypatch, call, number, count=2)
    # The system's own retries of an interrupted call are under Python's functions.
    assert done(files)
    assert len(hits) == 2 and files.faults.count == 2
    assert files.leftovers() == []


@pytest.mark.parametrize("number", [errno.EIO, errno.ETIMEDOUT, errno.ESTALE])
@pytest.mark.parametrize("operation", REPEATED)
def test_a_change_whose_reply_was_lost_is_known_as_done(
    files, monkeypatch, operation, number
):
    call, done = OPERATIONS[operation]
    hits = fail(monkeypatch, call, number, after=True)
    assert done(files) and len(hits) == 1
    content = files.read("c/x" if operation == "folder" else "c")
    assert content == (b"1" if operation == "move" else b"2")
    assert files.leftovers() == []


@pytest.mark.parametrize("number", FINAL, ids=errno.errorcode.get)
def test_a_final_fault_is_one_line_at_once(files, monkeypatch, number):
    hits = fail(monkeypatch, "fsync", number, count=None)
    with pytest.raises(
        StoreError, match=rf"cannot write .*c: {FINAL[number]}$"
    ) as told:
        files.publish("c", b"2")
    assert len(hits) == 1 and not isinstance(told.value, UnreachableError)
    assert not files.exists("c") and files.leftovers() == []


def test_patience_has_a_bound_and_an_outage_is_waited_for_once(files, monkeypatch):
    files.faults.patience_s = 0.6
    fail(monkeypatch, "listdir", errno.ESTALE, count=None)
    began = time.monotonic()
    for _ in range(5):
        with pytest.raises(UnreachableError, match=r"cannot list .*Stale file handle"):
            files.names("sub")
    assert 0.3 < time.monotonic() - began < 1.2


def test_who_is_asked_to_stop_waits_for_nothing(files, monkeypatch):
    fail(monkeypatch, "listdir", errno.EIO, count=None)
    files.faults.patience_s, files.faults.stopping = 60.0, lambda: True
    began = time.monotonic()
    with pytest.raises(UnreachableError):
        files.names("sub")
    assert time.monotonic() - began < 1.0


def test_only_an_empty_claim_is_read_again(tmp_path, monkeypatch):
    store = create_store(tmp_path)
    for name in ("work/x/beat-000001.json", f"orders/{TRUNK}.retry.json"):
        store.files.publish(name, b"")
    store.files.publish(f"failures/{TRUNK}.000001.json", b"")
    slept = []
    monkeypatch.setattr(faults.Faults, "_sleep", lambda _, s: slept.append(s) or True)
    assert store.json_or_empty("work/x/beat-000001.json") == {}
    assert requests.forgiven_failures(store) == {TRUNK: 0}
    (failed,) = failures.failures(store)[TRUNK]
    assert "is damaged" in failed.error and slept == []
    store.files.publish("work/x/claim-000001.json", b"")
    assert store.claim("work/x/claim-000001.json") == {}
    assert slept == list(faults.CLAIM_PAUSES_S)


@pytest.mark.parametrize("number", sorted(exclusive.REFUSED), ids=errno.errorcode.get)
def test_without_links_names_are_taken_by_creation(tmp_path, monkeypatch, number):
    """Chosen once, and written into the store, so that all workers do the same."""
    hits = fail(monkeypatch, "link", number, count=None)
    store = create_store(tmp_path / "s")
    assert store.json("_store.json") == {"format": 3, "exclusive": "create"}
    assert hits and open_store(store.uri).files.exclusive == "create"
    before, told = len(hits), []

    def write(k):
        told.append(open_store(store.uri).files.publish_once("r.json", b"%d" % k))

    threads = [threading.Thread(target=write, args=(k,)) for k in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(told) == 1 and len(hits) == before
    lease = Leases(store, worker=elsewhere("a")).claim(TRUNK)
    assert lease and Leases(store, worker=elsewhere("b")).claim(TRUNK) is None


def test_a_sweep_without_links_ends_as_one_with_them(tmp_path, monkeypatch):
    fail(monkeypatch, "link", errno.EPERM, count=None)
    store = create_store(tmp_path / "s")
    work(store, planned(*runs(1, (6, 9))))
    assert len(store.finished()) == 2
    assert examine(store, mend=False).ailments == []


def test_a_name_whose_creator_died_is_unseen_and_taken_over(tmp_path, monkeypatch):
    files = LocalFiles(tmp_path)
    files.exclusive = "create"
    monkeypatch.setattr(exclusive, "EMPTY_S", 0.3)
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "a.json").touch()
    assert files.names("records") == [] and not files.exists("records/a.json")
    assert files.publish_once("records/a.json", b"1")
    assert not files.publish_once("records/a.json", b"2")
    # A claim's generation is spent; its silence frees the trunk.
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "claim-000001.json").touch()
    assert files.names("work") == ["claim-000001.json"]
    assert not files.publish_once("work/claim-000001.json", b"1")


@pytest.mark.parametrize("number", [errno.EMLINK, errno.EPERM], ids=errno.errorcode.get)
def test_one_refused_link_does_not_end_a_sweep(tmp_path, monkeypatch, number):
    store = create_store(tmp_path)
    hits = fail(monkeypatch, "link", number, path="*claim*")
    work(store, planned(*runs(1, (6,))))
    assert len(hits) == 1 and len(store.finished()) == 1
    files = LocalFiles(tmp_path)
    files.faults.patience_s = 0.1
    fail(monkeypatch, "link", number, count=None)
    with pytest.raises(StoreError, match="needs a file system with hard links"):
        files.publish_once("x", b"1")


def test_an_unknown_way_to_take_names_is_refused(tmp_path):
    create_store(tmp_path)
    marker = {"format": 2, "exclusive": "lottery"}
    (tmp_path / "_store.json").write_text(json.dumps(marker))
    with pytest.raises(StoreError, match="asks for 'lottery'; known are link, create"):
        open_store(tmp_path)


def deep(levels):
    return b'{"a": ' + b"[" * levels + b"]" * levels + b"}"


NONSENSE = {
    "deep": deep(70),
    "very deep": deep(100_000),
    "infinite": b'{"a": 1e999}',
    "not a number": b'{"a": NaN}',
    "huge": b'{"a": ' + b"9" * 400 + b"}",
    "no object": b"[]",
    "no text": b"\xff\xfe",
}


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_nonsense_in_one_file_is_named_and_the_others_go_on(tmp_path, nonsense):
    store, other = create_store(tmp_path), "f" * 16
    failures.add_failure(store, other, [], error=ValueError("x"), progress="")
    names = [f"failures/{TRUNK}.000001.json", f"orders/{TRUNK}.retry.json"]
    for name in names:
        store.files.publish(name, NONSENSE[nonsense])
    by_trunk = failures.failures(store)
    assert f"{TRUNK}.000001.json is damaged" in by_trunk[TRUNK][0].error
    assert "ValueError: x" in by_trunk[other][0].error
    found = examine(store, mend=False)
    assert set(names) <= {ailment.file for ailment in found.ailments}
    with pytest.raises(DamagedFileError, match="cannot be read"):
        store.json(names[0])


def no_file(kind, path: Path, outside: Path):
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "outward link":
        outside.write_text('{"secret": 1}')
        path.symlink_to(outside)
    elif kind == "large":
        with path.open("wb") as file:
            file.truncate(2**40)


@pytest.mark.parametrize("kind", ["pipe", "endless", "folder", "outward link", "large"])
def test_what_is_no_regular_file_is_named_and_not_hung_on(tmp_path, kind):
    store, outside = create_store(tmp_path / "s"), tmp_path / "outside.json"
    work(store, planned(*runs(1, (6, 9))))
    victim, sound = sorted(store.finished())
    name = f"records/{victim}.json"
    no_file(kind, tmp_path / "s" / name, outside)
    with pytest.raises(DamagedFileError, match=name):
        store.record(victim)
    # A claim and a failure of this kind are damaged ones; nobody waits for them.
    Leases(store, worker=elsewhere("a")).claim(TRUNK)
    no_file(kind, tmp_path / "s" / f"work/{TRUNK}/claim-000001.json", outside)
    (holder,) = holders(store)
    assert holder.alive and holder.host == "unknown"
    looked = examine(store, mend=False)
    named = {ailment.file: ailment.wrong for ailment in looked.ailments}
    assert {name, f"work/{TRUNK}/claim-000001.json"} <= named.keys()
    found = examine(store, mend=True)
    assert found.reopened == [victim] and store.finished() == {sound}
    # Named, and left: a claim that cannot be read still holds for the usual time.
    assert store.files.names(f"work/{TRUNK}") == ["claim-000001.json"]


def test_a_link_inside_a_store_is_a_file_of_it(tmp_path):
    files = LocalFiles(tmp_path / "s")
    files.publish("a.json", b"1")
    (tmp_path / "s" / "b.json").symlink_to(tmp_path / "s" / "a.json")
    assert files.read("b.json") == b"1"
    (tmp_path / "t").symlink_to(tmp_path / "s")
    assert LocalFiles(tmp_path / "t").read("a.json") == b"1"


def test_claims_that_say_nothing_are_named_by_doctor(tmp_path):
    store = create_store(tmp_path)
    Leases(store, worker=elsewhere("a")).claim(TRUNK)
    assert not [a for a in examine(store, mend=False).ailments if "claim" in a.file]
    store.files.publish(f"work/{TRUNK}/claim-000001.json", b'{"trunks": 3}')
    (found,) = [a for a in examine(store, mend=True).ailments if "claim" in a.file]
    assert "names no trunks" in found.wrong and "left alone" in found.done
    assert store.files.exists(f"work/{TRUNK}/claim-000001.json")


LAG_S = 3.0


def test_own_names_that_are_listed_late_do_not_cost_the_lease(tmp_path, monkeypatch):
    store = create_store(tmp_path)
    late = late_listings(monkeypatch, LAG_S, "claim-*")
    leases = Leases(store, worker=elsewhere("a"))
    lease = leases.claim(TRUNK)
    assert store.files.names(f"work/{TRUNK}") == []
    lease.check()
    lease.heartbeat({})
    lease.check()
    # Another is told that the name is taken, and looks at the claim from then on.
    other = Leases(store, worker=elsewhere("b"))
    assert other.claim(TRUNK) is None and other.claim(TRUNK) is None
    lease.release("done")
    taken = other.claim(TRUNK)
    assert taken.generation == 2
    taken.check()
    assert late


def test_a_sweep_under_late_listings_claims_each_trunk_once(tmp_path, monkeypatch):
    """Claims, checkpoints, records and rows that appear three seconds late."""
    store, warnings = create_store(tmp_path), []
    late_listings(monkeypatch, LAG_S)
    claims = []
    real = LocalFiles.publish_once

    def counted(self, name, content):
        claims.extend([name] if "claim" in name else [])
        return real(self, name, content)

    monkeypatch.setattr(LocalFiles, "publish_once", counted)
    work(store, planned(*runs(2, (6,))), Listener(warning=warnings.append))
    assert warnings == [] and len(claims) == 2
    assert len(os.listdir(tmp_path / "records")) == 2


def test_a_checkpoint_is_waited_for_until_it_is_listed(tmp_path, monkeypatch):
    from tests.harness.workers.test_checkpoint import checkpoints

    store = create_store(tmp_path)
    late_listings(monkeypatch, 1.0, "trunk-*.json")
    kept = checkpoints(store, TRUNK)
    import numpy as np

    began = time.monotonic()
    kept._write("trunk", 4, [np.zeros(3)], [], [])
    kept.close()
    assert time.monotonic() - began > 0.9
    assert "trunk-000000004.json" in store.files.names(f"work/{TRUNK}/ckpt")


def test_errors_and_disappearances_are_two_budgets(tmp_path):
    store = create_store(tmp_path)

    def fail_with(error, progress="0"):
        failures.add_failure(store, TRUNK, [], error=error, progress=progress)
        return failures.retry_decision(failures.failures(store)[TRUNK])

    # Seven disappearances and one error use up neither.
    assert not any(fail_with(None).given_up for _ in range(7))
    assert not fail_with(ValueError("x")).given_up
    assert fail_with(None).given_up
    requests.request_retry(store, TRUNK)
    full = fail_with(OSError(errno.ENOSPC, "No space left on device"))
    assert full.last.kind == "full" and full.last.error.startswith("the disk is full")
    assert not fail_with(ValueError("x")).given_up
    assert not fail_with(None).given_up
    assert fail_with(ValueError("x")).given_up


def test_a_worker_that_vanished_before_it_began_counts_for_nothing(tmp_path):
    store = create_store(tmp_path)
    for begun in (False, True):
        lease = Leases(store, worker=elsewhere("a")).claim(TRUNK)
        if begun:
            lease.heartbeat({})
        clock = Clock()
        leases = Leases(store, worker=elsewhere("b"), clock=clock)
        assert claim_all(leases, [TRUNK]) is None
        clock.now = 1e3
        taken = claim_all(leases, [TRUNK])
        assert taken.took_over == ([TRUNK] if begun else [])
        taken.release("next")


def test_a_full_disk_does_not_keep_a_worker_from_letting_go(tmp_path, monkeypatch):
    store = create_store(tmp_path)
    lease = Leases(store, worker=elsewhere("a")).claim(TRUNK)
    lease.heartbeat({"step": 3})
    fail(monkeypatch, "fsync", errno.ENOSPC, count=None)
    with pytest.raises(StoreError, match="the disk is full"):
        add_record(store, {"run_id": "r"})
    lease.release("stopped")
    assert holders(store) == []


def test_status_says_how_many_faults_a_worker_has_outlasted(tmp_path, monkeypatch):
    store = create_store(tmp_path)
    lease = Leases(store, worker=elsewhere("a")).claim(TRUNK)
    fail(monkeypatch, "replace", errno.ESTALE, count=3)
    lease.heartbeat({})
    lease.heartbeat({})
    (holder,) = holders(store)
    assert holder.faults == 3


def test_a_sweep_of_damaged_neighbours_still_has_a_status(tmp_path):
    from harness.store import add_sweep

    store = create_store(tmp_path)
    add_sweep(store, {"sweep_id": "0" * 16, "name": "x", "points": []})
    os.makedirs(tmp_path / "failures")
    os.mkfifo(tmp_path / f"failures/{TRUNK}.000001.json")
    os.makedirs(tmp_path / "orders")
    os.mkfifo(tmp_path / f"orders/{TRUNK}.retry.json")
    assert sweep_status(store).name == "x"
