"""The same store on S3-compatible storage, against a real server on this machine."""

import json
import threading

import pandas as pd
import pytest

from harness.errors import Interrupted, StoreError
from harness.export.load import load_trained
from harness.store import add_sweep, create_store, open_store
from harness.store.doctor import examine
from harness.store.leases import Leases
from harness.store.read import copy_tables
from harness.store.status import sweep_status
from harness.store.weights import kept_runs
from harness.sweeps.options import WorkerOptions
from harness.sweeps.plan import plan
from harness.sweeps.sweep import Point
from harness.workers.worker import Listener, work
from tests.harness.crashes import assert_same, runs
from tests.harness.store.test_leases import TRUNK, elsewhere, race
from tests.harness.strategies import ALONE, mlp_run, planned

pytest.importorskip("moto")
SETTINGS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@pytest.fixture(scope="module")
def server():
    """Address of an S3 server; one request at a time, so that its conditional writes
    are atomic as they are on real storage."""
    import logging

    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = DomainDispatcherApplication(create_backend_app)
    made = make_server("127.0.0.1", 0, app, threaded=False)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()


@pytest.fixture
def bucket(server, monkeypatch, request):
    import s3fs

    for name, value in (SETTINGS | {"AWS_ENDPOINT_URL": server}).items():
        monkeypatch.setenv(name, value)
    fs = s3fs.S3FileSystem(skip_instance_cache=True)
    if not fs.exists("sweeps"):
        fs.mkdir("sweeps")
    return f"s3://sweeps/{abs(hash(request.node.name))}"


def test_a_store_on_s3_is_the_store_on_a_disk(bucket, tmp_path):
    made = planned(*runs(2, (12, 40)))
    remote, local = create_store(bucket), create_store(tmp_path / "local")
    seen = []
    stopping = Listener(progress=seen.append, stopping=lambda: len(seen) >= 5)
    with pytest.raises(Interrupted):
        work(remote, made, stopping, WorkerOptions(train=ALONE, checkpoint_s=0.0))
    # Another machine goes on: at a checkpoint inside a cooldown, read from S3.
    resumed = []
    work(
        remote, made, Listener(progress=resumed.append), WorkerOptions(checkpoint_s=1e9)
    )
    assert resumed[0].step - resumed[0].new_steps > 0 or len(resumed) < 22
    work(local, made, options=WorkerOptions(train=ALONE))
    assert examine(remote, mend=False).ailments == []
    copy_tables(remote, tmp_path / "copy")
    assert_same(tmp_path / "local", tmp_path / "copy")
    view = pd.read_parquet(f"{bucket}/runs.parquet")
    assert len(view) == 4


def test_exclusive_creation_and_damage_on_s3(bucket):
    store = create_store(bucket)
    assert store.files.publish_once("records/a.json", b"1")
    assert not store.files.publish_once("records/a.json", b"2")
    # The same content is our own write, whose answer was lost.
    assert store.files.publish_once("records/a.json", b"1")
    assert store.files.read("records/a.json") == b"1"
    with pytest.raises(FileNotFoundError):
        store.files.read("records/b.json")
    assert store.files.age("records/a.json") < 60
    assert store.files.age("records/b.json") is None
    name = f"records/{TRUNK}.json"
    store.files.publish(name, b"{")
    found = examine(store, mend=True)
    assert name in [ailment.file for ailment in found.ailments]
    assert not store.files.exists(name)
    assert len(store.files.walk("quarantine")) == 1


def test_leases_and_status_on_s3(bucket):
    store = create_store(bucket)
    sweep = {"sweep_id": "0" * 16, "name": "x", "points": []}
    add_sweep(store, sweep)
    lease = Leases(store, worker=elsewhere("a")).claim(TRUNK)
    assert Leases(store, worker=elsewhere("b")).claim(TRUNK) is None
    lease.heartbeat({"run_id": "r"})
    (holder,) = sweep_status(store).holders
    assert holder.alive and holder.host == "a"
    lease.delete()
    assert sweep_status(store).holders == ()


def test_eight_processes_race_for_two_hundred_trunks_on_s3(bucket, server):
    create_store(bucket)
    settings = SETTINGS | {"AWS_ENDPOINT_URL": server}
    got = race(bucket, 8, 200, settings)
    everything = sorted(trunk for share in got for trunk in share)
    assert everything == [f"{k:016x}" for k in range(200)]


def test_what_cannot_be_reached_is_one_line(bucket, monkeypatch):
    with pytest.raises(StoreError, match="not a results folder"):
        open_store("s3://sweeps/nothing/here")
    with pytest.raises(StoreError, match="cannot write s3://no-such-bucket/x"):
        create_store("s3://no-such-bucket/x")
    create_store(bucket).files.publish(
        "_store.json", json.dumps({"format": 4}).encode()
    )
    with pytest.raises(StoreError, match="format 4; this harness reads format 3"):
        open_store(bucket)


def test_kept_weights_come_out_of_a_bucket(bucket):
    store = create_store(bucket)
    made = plan([Point(run=mlp_run(steps=4))], "final")
    work(store, made, options=WorkerOptions(train=ALONE))
    (run_id,) = kept_runs(store)
    assert load_trained(bucket, run_id).run == made.runs[0].run
