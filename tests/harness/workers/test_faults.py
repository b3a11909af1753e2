"""Workers under faults: what ends one, what ends all, and what ends none."""

import errno
import os
import subprocess
import sys
import time

import pytest

from harness.engines import local
from harness.engines.base import Slot, engine_named
from harness.errors import UnreachableError
from harness.store import add_sweep, create_store, faults, open_store
from harness.store.doctor import examine
from harness.sweeps.options import WorkerOptions
from harness.sweeps.plan import sweep_record
from harness.training import device
from harness.workers import worker
from harness.workers.worker import Listener, work
from tests.faults import shim
from tests.faults.python import fail
from tests.harness.crashes import assert_same, runs
from tests.harness.strategies import ALONE, planned

MADE = {"trunks": 2, "lengths": (12,)}


def swept(folder):
    """A store with a sweep in it, whose runs `harness work` trains."""
    store = create_store(folder)
    add_sweep(store, sweep_record(planned(*runs(**MADE)), name="small", doc=""))
    return store


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calm") / "store"
    work(swept(folder), planned(*runs(**MADE)), options=WorkerOptions(train=ALONE))
    return folder


def test_one_stale_listing_and_one_failed_read_cost_nothing(
    calm, tmp_path, monkeypatch
):
    listed = fail(monkeypatch, "listdir", errno.ESTALE, path="*/work")
    read = fail(monkeypatch, "open", errno.EIO, path="*records*")
    store, warnings = swept(tmp_path / "s"), []
    listener = Listener(warning=warnings.append)
    work(store, planned(*runs(**MADE)), listener, WorkerOptions(train=ALONE))
    assert len(listed) == len(read) == 1 == store.files.faults.count - 1
    assert warnings == [] and store.failures() == []
    assert_same(calm, tmp_path / "s")


def test_a_store_that_stays_away_ends_a_worker_and_fails_no_run(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "WORKER_PATIENCE_S", 0.5)
    store = create_store(tmp_path / "s")
    store.files.faults.patience_s = 0.5
    with monkeypatch.context() as patch:
        fail(patch, "replace", errno.ESTALE, path="*runs.parquet", count=None)
        fail(patch, "fsync", errno.EIO, count=None)
        with pytest.raises(UnreachableError, match="Input/output error"):
            work(store, planned(*runs(**MADE)), options=WorkerOptions(train=ALONE))
    assert store.failures() == []
    work(store, planned(*runs(**MADE)), options=WorkerOptions(train=ALONE))
    assert len(store.finished()) == 2


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ESTALE, 74), (errno.EACCES, 2), (errno.EROFS, 2)]
)
def test_exit_codes_tell_a_store_out_of_reach_from_a_mistake(
    tmp_path, monkeypatch, harness, number, code
):
    store = swept(tmp_path / "s")
    monkeypatch.setattr(faults.Faults.__init__, "__defaults__", (0.3,))
    fail(monkeypatch, "listdir", number, path="*/sweeps", count=None)
    ended, _, err = harness("work", store.uri)
    assert ended == code and err.startswith("error: cannot list ")
    assert err.count("\n") == 1


def test_after_exit_code_74_another_starts_and_the_others_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "QUICK_DEATHS", 2)
    monkeypatch.setattr(local, "LONGEST_PAUSE_S", 0.01)
    script, tries = tmp_path / "worker.py", tmp_path / "tries"
    script.write_text(
        "import os, sys, time\n"
        "if sys.argv[-1] == '1': \n"
        "    time.sleep(1); open('other', 'w').close(); sys.exit()\n"
        "open('tries', 'a').write('x')\n"
        "print('error: cannot list s3://x: Stale file handle', file=sys.stderr)\n"
        "sys.exit(74 if os.path.getsize('tries') < 5 else 0)\n"
    )
    monkeypatch.chdir(tmp_path)
    engine = engine_named("local")
    engine.start([sys.executable, str(script)], [Slot(), Slot()], tmp_path / "logs")
    news, end = [], time.monotonic() + 60
    while engine.poll() and time.monotonic() < end:
        news += engine.news()
        time.sleep(0.02)
    assert tries.read_text() == "xxxxx" and (tmp_path / "other").exists()
    assert engine.error is None and len(news) == 4
    assert all("exit code 74: cannot list" in line for line in news)


def test_a_device_that_does_not_start_is_found_before_a_lease(tmp_path, monkeypatch):
    def broken():
        raise RuntimeError("no device")

    monkeypatch.setattr(device, "describe", broken)
    store = create_store(tmp_path)
    with pytest.raises(RuntimeError, match="no device"):
        work(store, planned(*runs(**MADE)))
    assert store.files.names("work") == [] and store.failures() == []


RULES = {
    "a stale listing": [f"op=list,errno={errno.ESTALE},count=1,path=*/work"],
    "a link made whose reply was lost": [
        f"op=link,errno={errno.EIO},count=3,after=1,path=*claim*",
        f"op=link,errno={errno.ETIMEDOUT},count=2,after=1,path=*records*",
    ],
    "renames and syncs that fail": [
        f"op=rename,errno={errno.EIO},count=2,path=*/s/*",
        f"op=fsync,errno={errno.EIO},count=2,path=*/s/*",
    ],
    "listings three seconds late": ["op=list,lag=3000,path=claim*"],
    "a link refused once": [f"op=link,errno={errno.EMLINK},count=1"],
}


@pytest.mark.parametrize("rules", RULES)
def test_a_worker_under_a_faulty_file_system(calm, tmp_path, rules):
    """The faults are the system's own, below Python: every library meets them."""
    environment = os.environ | shim.environment(*RULES[rules])
    store = swept(tmp_path / "s")
    command = [sys.executable, "-m", "harness", "work", store.uri, "--population", "1"]
    done = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "went to another" not in done.stdout + done.stderr
    store = open_store(store.uri)
    assert len(store.finished()) == 2 and store.failures() == []
    assert_same(calm, tmp_path / "s")
    assert examine(store, mend=False).ailments == []
