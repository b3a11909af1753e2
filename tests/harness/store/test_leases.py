"""Leases: each trunk has one holder, whatever dies, sleeps, or has a wrong clock."""

import errno
import json
import os
import subprocess
import sys

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from harness.errors import StoreError, UnreachableError
from harness.store import (
    add_record,
    create_store,
    failures,
    files,
    identity,
    leases,
    requests,
)
from harness.store.leases import LeaseLost, Leases, WorkerId
from harness.store.status import holders
from harness.sweeps.options import Terms, WorkerOptions

TRUNK = "0123456789abcdef"


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self, now=0.0):
        self.now = now

    def __call__(self):
        return self.now


def elsewhere(name="other"):
    """A worker of another machine: only its silence can tell that it is dead."""
    return WorkerId(name=name, host=name, pid=1, process=None)


def here(store, clock=None, name="here"):
    return Leases(store, worker=elsewhere(name), clock=clock or Clock())


@pytest.fixture
def store(tmp_path):
    return create_store(tmp_path / "s")


def test_a_held_trunk_is_not_claimed_and_a_released_one_is(store):
    lease = here(store).claim(TRUNK)
    assert lease.generation == 1 and not lease.took_over
    other = here(store, name="b")
    assert other.claim(TRUNK) is None
    lease.check()
    lease.release("interrupted")
    with pytest.raises(LeaseLost):
        lease.check()
    again = other.claim(TRUNK)
    assert again.generation == 2 and not again.took_over


def test_a_silent_holder_is_replaced_and_steps_aside(store):
    clock = Clock(1000.0)
    lease, watcher = here(store).claim(TRUNK), here(store, clock, "b")
    assert watcher.claim(TRUNK) is None
    for _ in range(3):
        clock.now += 80.0
        # Each beat starts the wait anew, on the watcher's clock alone.
        lease.heartbeat({"step": 1})
        assert watcher.claim(TRUNK) is None
    clock.now += 90.0
    assert watcher.claim(TRUNK) is None
    clock.now += 0.1
    taken = watcher.claim(TRUNK)
    assert taken.generation == 2 and taken.took_over
    with pytest.raises(LeaseLost):
        lease.check()
    taken.check()


def test_a_dead_worker_is_replaced_within_two_minutes():
    """The wait that the terms name, and the time between two looks of a watcher."""
    assert Terms().stale_s + Terms().beat_s + 2 * WorkerOptions().poll_s < 120


def test_a_dead_process_of_this_machine_is_seen_at_once(store):
    if identity._process(os.getpid()) is None:
        pytest.skip("this system does not tell when a process started")
    code = (
        "import sys; from harness.store import open_store;"
        "from harness.store.leases import Leases;"
        f"assert Leases(open_store(sys.argv[1])).claim('{TRUNK}')"
    )
    subprocess.run([sys.executable, "-c", code, store.uri], check=True)
    (gone,) = holders(store)
    assert not gone.alive
    assert Leases(store).claim(TRUNK).took_over
    # And one that lives is not: this very process.
    assert Leases(store).claim(TRUNK) is None


@pytest.mark.parametrize("shift", [-3600, 3600], ids=["behind", "ahead"])
def test_clocks_of_hosts_are_never_compared(store, monkeypatch, shift):
    """A holder whose wall clock is an hour off is neither dead nor immortal."""
    import datetime

    def skewed():
        now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=shift)
        return now.isoformat()

    monkeypatch.setattr(leases, "now", skewed)
    lease = here(store).claim(TRUNK)
    lease.heartbeat({"run_id": "a"})
    monkeypatch.undo()
    clock = Clock()
    watcher = here(store, clock, "b")
    assert watcher.claim(TRUNK) is None
    (holder,) = holders(store)
    assert holder.alive and holder.silent_s < 60
    clock.now = 91.0
    assert watcher.claim(TRUNK).took_over


def test_a_damaged_claim_still_holds_for_the_usual_time(store):
    here(store).claim(TRUNK)
    name = f"work/{TRUNK}/claim-000001.json"
    for damage in (b"", b"{", b"[]", b'{"stale_s": "soon", "pid": {}}'):
        store.files.publish(name, damage)
        clock = Clock()
        watcher = here(store, clock, "b")
        assert watcher.claim(TRUNK) is None
        clock.now = 89.0
        assert watcher.claim(TRUNK) is None
    clock.now = 91.0
    assert watcher.claim(TRUNK).took_over


@pytest.mark.parametrize("text", ["1" + "0" * 400, "NaN", "1e999", "-5", "[[[]]]"])
def test_a_claim_that_names_nonsense_holds_for_the_usual_time(text):
    assert leases.stale_after({"stale_s": json.loads(text)}) == Terms().stale_s


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"stale_s": ' + b"9" * 5_000 + b"}", b"\xff"]
)
def test_a_hostile_claim_is_an_empty_one(store, content):
    store.files.publish("work/claim.json", content)
    assert store.json_or_empty("work/claim.json") == {}


@pytest.mark.parametrize("fault", ["stale handle", "empty"])
def test_a_population_is_the_same_after_one_failed_read_of_its_claim(
    store, monkeypatch, fault
):
    """Another width would give other numbers, so a fault must not be taken for one."""
    other = "f" * 16
    assert leases.claim_all(Leases(store), [TRUNK, other])
    real, faults = files.read_regular, iter([fault])

    def once_faulty(path, root):
        if "claim" in path.name and (kind := next(faults, None)):
            if kind == "empty":
                return b""
            raise OSError(errno.ESTALE, "Stale file handle")
        return real(path, root)

    monkeypatch.setattr(files, "read_regular", once_faulty)
    monkeypatch.setattr("harness.store.faults.CLAIM_PAUSES_S", (0.0,))
    assert leases.together(store, TRUNK) == [TRUNK, other]


def test_a_claim_that_cannot_be_read_is_not_taken_for_an_empty_one(store, monkeypatch):
    assert leases.claim_all(Leases(store), [TRUNK])

    def faulty(path, root):
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(files, "read_regular", faulty)
    store.files.faults.patience_s = 0.2
    with pytest.raises(UnreachableError, match="Stale file handle"):
        leases.together(store, TRUNK)


def test_terms_that_would_lose_leases_are_refused():
    with pytest.raises(StoreError, match="at most a third"):
        Terms(beat_s=60, stale_s=90)


def race(where, processes, count, environment=None):
    """What each of some processes got of the same trunks."""
    racers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.harness.race", where, str(count), str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        for seed in range(processes)
    ]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    got = [racer.stdout.readline().split() for racer in racers]
    for racer in racers:
        racer.communicate("end\n")
    return got


def test_eight_processes_race_for_a_thousand_trunks(store):
    got = race(store.uri, 8, 1000)
    everything = sorted(trunk for share in got for trunk in share)
    assert everything == [f"{k:016x}" for k in range(1000)]
    assert sum(map(bool, got)) > 1


def test_orders_and_failures_decide_what_is_tried(store):
    def fail(error, progress="0"):
        failures.add_failure(store, TRUNK, ["r"], error=error, progress=progress)
        return failures.retry_decision(failures.failures(store)[TRUNK])

    assert not fail(ValueError("once")).given_up
    assert fail(ValueError("twice")).given_up
    requests.request_retry(store, TRUNK)
    assert failures.failures(store) == {} and failures.count(store, TRUNK) == 2
    # What comes from disks and networks is tried more often, later and later.
    waits = [fail(OSError("disk")).wait_s for _ in range(4)]
    assert waits == [5, 10, 20, 40] and fail(OSError("disk")).given_up
    requests.request_retry(store, TRUNK)
    # Kills count only while nothing is achieved between them.
    for k in range(20):
        assert not fail(None, progress=str(k)).given_up
    assert [fail(None, "same").given_up for _ in range(8)] == [False] * 7 + [True]
    assert json.loads(store.files.read(f"failures/{TRUNK}.000001.json"))["traceback"]


class Sharing(RuleBasedStateMachine):
    """Three workers, one trunk of one run: claim, beat, sleep, crash, publish.

    The model is who was told last that the trunk is theirs, and what was published.
    """

    workers = st.sampled_from("abc")

    def __init__(self):
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.store = create_store(self.folder.name)
        self.clock = Clock()
        self.leases = {w: here(self.store, self.clock, w) for w in "abc"}
        self.held = dict.fromkeys("abc")
        self.owner, self.published, self.epochs = None, [], []

    def teardown(self):
        self.folder.cleanup()

    @rule(worker=workers)
    def claim(self, worker):
        if self.held[worker] is None and (lease := self.leases[worker].claim(TRUNK)):
            self.held[worker], self.owner = lease, worker
            self.epochs.append(lease.generation)

    @rule(worker=workers)
    def beat(self, worker):
        if self.held[worker]:
            try:
                self.held[worker].check()
                self.held[worker].heartbeat({})
            except LeaseLost:
                assert self.owner != worker
                self.held[worker] = None

    @rule(seconds=st.sampled_from([1.0, 40.0, 91.0]))
    def sleep(self, seconds):
        self.clock.now += seconds

    @rule(worker=workers)
    def crash(self, worker):
        self.held[worker] = None
        self.leases[worker] = here(self.store, self.clock, worker)

    @rule(worker=workers)
    def release(self, worker):
        if self.held[worker]:
            self.held[worker].release("asked to")
            self.held[worker] = None

    @rule(worker=workers, late=st.booleans())
    def publish(self, worker, late):
        """Also too late: a worker that slept between its look and its publishing."""
        if lease := self.held[worker]:
            try:
                lease.check()
            except LeaseLost:
                assert self.owner != worker
                if not late:
                    return
            record = {"run_id": "r", "by": worker}
            if add_record(self.store, record):
                self.published.append(worker)

    @invariant()
    def one_holder_one_record(self):
        assert self.epochs == sorted(set(self.epochs))
        valid = [w for w, lease in self.held.items() if lease and self._holds(lease)]
        assert len(valid) <= 1 and set(valid) <= {self.owner}
        assert len(self.published) <= 1
        if self.published:
            assert self.store.record("r")["by"] == self.published[0]

    def _holds(self, lease):
        marks = leases.lease_files(self.store, TRUNK)
        return marks.generation == lease.generation and not marks.released


TestSharing = Sharing.TestCase
TestSharing.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
