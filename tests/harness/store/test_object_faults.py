"""Real faults of an object store, by a proxy before a server on this machine."""

import threading
import time

import pytest

from harness.errors import StoreError, UnreachableError
from harness.store import create_store, open_store
from harness.store.leases import Leases
from harness.store.read import copy_tables
from harness.sweeps.options import WorkerOptions
from harness.workers.worker import Listener, work
from tests.faults.proxy import Proxy
from tests.harness.crashes import assert_same, runs
from tests.harness.store.test_leases import TRUNK, elsewhere
from tests.harness.store.test_objects import SETTINGS, bucket, server  # noqa: F401
from tests.harness.strategies import ALONE, planned

OUTAGE_S = 15.0


@pytest.fixture
def proxy(bucket, server, monkeypatch):  # noqa: F811
    """A proxy that this process's stores use, and the address of a bucket behind it."""
    made = Proxy(int(server.rpartition(":")[2]))
    for name, value in (SETTINGS | {"AWS_ENDPOINT_URL": made.address}).items():
        monkeypatch.setenv(name, value)
    made.bucket = bucket
    yield made
    made.close()


def is_creation(method, _path, headers):
    return method == "PUT" and headers.get("If-None-Match") == "*"


@pytest.mark.parametrize("kind", ["503", "drop", "lost"])
def test_one_fault_of_each_operation_is_retried(proxy, kind):
    store = create_store(proxy.bucket)
    files = store.files
    for method, operation in {
        "PUT": lambda: files.publish("a", b"1") is None,
        "GET": lambda: files.read("a") == b"1",
        "HEAD": lambda: files.exists("a"),
        "POST": lambda: files.remove("a") is None,
    }.items():
        proxy.once(kind, lambda asked, *_, method=method: asked == method)
        assert operation()
        proxy.fault = lambda *_: None
    assert [hit[0] for hit in proxy.hits] == [kind] * len(proxy.hits)
    # Of a connection that was used before, the client itself asks once more.
    assert len(proxy.hits) == 4
    assert files.faults.count == 4 if kind == "503" else files.faults.count >= 1


def test_a_lost_reply_of_a_creation_is_ones_own(proxy):
    store = create_store(proxy.bucket)
    proxy.once("lost", is_creation)
    lease = Leases(store, worker=elsewhere("a")).claim(TRUNK)
    assert lease and [hit[1] for hit in proxy.hits] == ["PUT"]
    lease.check()
    assert Leases(store, worker=elsewhere("b")).claim(TRUNK) is None
    # And so is a record's: exactly one file, and it is this one.
    proxy.once("lost", is_creation)
    assert store.files.publish_once("records/a.json", b"1")
    assert not store.files.publish_once("records/a.json", b"2")
    assert len(proxy.hits) == 2


def test_a_sweep_survives_an_outage(proxy, tmp_path):
    """Fifteen seconds of 503 in the middle, then connections that are refused."""
    made, seen = planned(*runs(1, (12, 40))), []
    store = create_store(proxy.bucket)

    def progress(moment):
        seen.append(moment)
        if len(seen) == 3:
            proxy.down_for(OUTAGE_S)
        if len(seen) == 6:
            proxy.refuse()
            threading.Timer(2.0, proxy.restore).start()

    began = time.monotonic()
    options = WorkerOptions(train=ALONE, checkpoint_s=0.0)
    work(store, made, Listener(progress=progress), options)
    assert time.monotonic() - began > OUTAGE_S
    assert store.files.faults.count > 5 and {hit[0] for hit in proxy.hits} == {"503"}
    calm = create_store(tmp_path / "calm")
    work(calm, made, options=WorkerOptions(train=ALONE))
    copy_tables(store, tmp_path / "copy")
    assert_same(tmp_path / "calm", tmp_path / "copy")
    assert store.failures() == []


def test_a_store_that_stays_away_is_one_line(proxy):
    store = create_store(proxy.bucket)
    store.files.faults.patience_s = 0.5
    proxy.down_for(60.0)
    with pytest.raises(UnreachableError, match=r"cannot read s3://.*\(for \d+ s\)"):
        store.files.read("a")
    proxy.refuse()
    with pytest.raises(UnreachableError, match="cannot list"):
        store.finished()


def test_what_does_not_pass_is_told_at_once(proxy, monkeypatch):
    create_store(proxy.bucket)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
    began = time.monotonic()
    with pytest.raises(StoreError, match=r"NoSuchBucket|does not exist"):
        create_store("s3://no-such-bucket/x")
    assert time.monotonic() - began < 5.0


def test_a_storage_that_ignores_conditions_is_refused(proxy, monkeypatch):
    from harness.store.objects import ObjectFiles

    def careless(self, name, content):
        self._fs.pipe_file(self._key(name), content)
        return True

    monkeypatch.setattr(ObjectFiles, "_create", careless)
    with pytest.raises(StoreError, match="ignores conditional writes"):
        create_store(proxy.bucket)


def test_a_delay_is_no_fault(proxy):
    store = create_store(proxy.bucket)
    proxy.fault = lambda *_: 0.3
    assert open_store(proxy.bucket).finished() == set()
    assert store.files.faults.count == 0
