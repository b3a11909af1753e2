"""The local engine: places for workers, and what it does when one dies."""

import os
import re
import sys
import time

import pytest

from harness.engines import base, local
from harness.engines.accelerators import Accelerators
from harness.engines.base import ENGINES, Slot, engine_named
from harness.engines.local import slots
from harness.errors import SpecError


def test_one_thread_per_worker_whatever_is_left_to_do(monkeypatch):
    monkeypatch.setattr(local, "_cores", lambda: [0, 1, 2, 5])
    monkeypatch.setattr(local, "accelerators", lambda: None)
    cores = [slot.cores for slot in slots(None, trunks=99)]
    assert cores == [(0,), (1,), (2,), (5,)]
    assert [s.cores for s in slots(None, trunks=2)] == cores[:2]
    assert [s.cores for s in slots(2, trunks=99)] == [(0, 2), (1, 5)]
    assert [s.cores for s in slots(1, trunks=99)] == [(0, 1, 2, 5)]
    assert [s.cores for s in slots(6, trunks=99)][4:] == [(0,), (1,)]
    # Simulated devices are threads of one worker.
    assert [s.cores for s in slots(None, trunks=99, devices=8)] == [(0, 1, 2, 5)]
    with pytest.raises(SpecError, match="--workers is 0"):
        slots(0, trunks=1)


def test_gpus_are_dealt_out_and_their_memory_shared(monkeypatch):
    gpus = Accelerators(variable="CUDA_VISIBLE_DEVICES", names=("3", "4"))
    monkeypatch.setattr(local, "accelerators", lambda: gpus)
    one_each = slots(None, trunks=99)
    assert [s.environment for s in one_each] == [
        {"CUDA_VISIBLE_DEVICES": "3"},
        {"CUDA_VISIBLE_DEVICES": "4"},
    ]
    shared = slots(4, trunks=99)
    assert [s.environment["CUDA_VISIBLE_DEVICES"] for s in shared] == list("3434")
    assert {s.environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] for s in shared} == {
        "0.450"
    }
    (pair,) = slots(None, trunks=99, devices=2)
    assert pair.environment == {"CUDA_VISIBLE_DEVICES": "3,4"}
    with pytest.raises(SpecError, match="--devices is 3; there are 2 GPUs"):
        slots(None, trunks=99, devices=3)


def engine(tmp_path, code, places=1):
    script = tmp_path / "worker.py"
    script.write_text(code)
    return started(script, [Slot() for _ in range(places)], tmp_path / "logs")


def started(script, places, logs):
    engine = engine_named("local")
    engine.start([sys.executable, str(script)], places, logs)
    return engine


def watch(made, limit=60.0):
    """Polls to the end; what was told on the way."""
    told, end = [], time.monotonic() + limit
    while made.poll():
        told += made.news()
        assert time.monotonic() < end
        time.sleep(0.02)
    return told + made.news()


def test_a_dead_worker_is_followed_by_another(tmp_path):
    code = f"""
import os, signal
with open({str(tmp_path / "tries")!r}, "a") as file:
    file.write("x")
if os.path.getsize({str(tmp_path / "tries")!r}) < 3:
    print("about to die", flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)
"""
    told = watch(engine(tmp_path, code))
    assert (tmp_path / "tries").read_text() == "xxx"
    assert [line[:24] for line in told] == ["a worker ended (SIGSEGV:"] * 2
    assert "about to die" in told[0] and "another starts in 1 s" in told[0]
    assert "another starts in 2 s" in told[1]
    assert (tmp_path / "logs" / "local-0.log").read_text().count("about to die") == 2


def test_workers_that_only_die_are_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "QUICK_DEATHS", 3)
    monkeypatch.setattr(local, "LONGEST_PAUSE_S", 0.01)
    told = watch(engine(tmp_path, "import sys; sys.exit(9)"))
    assert len(told) == 3 and "3 times in a row: no more of it" in told[-1]


def test_a_mistake_of_the_user_stops_all_with_its_line(tmp_path):
    code = """
import sys, time
if sys.argv[-1] == "0":
    print("error: corpus has changed", file=sys.stderr)
    sys.exit(2)
time.sleep(60)
"""
    made = engine(tmp_path, code, places=2)
    began = time.monotonic()
    watch(made)
    assert made.error == "corpus has changed" and time.monotonic() - began < 30


def test_stopping_waits_for_checkpoints(tmp_path):
    code = f"""
import signal, sys, time
def stop(*_):
    time.sleep(0.3)
    open({str(tmp_path / "kept")!r}, "w").close()
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
print("ready", flush=True)
time.sleep(60)
"""
    made = engine(tmp_path, code)
    made.poll()
    log = tmp_path / "logs" / "local-0.log"
    while "ready" not in log.read_text():
        time.sleep(0.02)
    made.stop()
    assert (tmp_path / "kept").exists() and not made.poll()
    assert made.error is None


def test_workers_are_bound_to_their_cores(tmp_path):
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system does not bind processes")
    core = min(os.sched_getaffinity(0))
    script = tmp_path / "worker.py"
    script.write_text("import sys; print(sys.argv[1:])")
    watch(started(script, [Slot(cores=(core,))], tmp_path / "logs"))
    log = (tmp_path / "logs" / "local-0.log").read_text()
    given = ["--parent", str(os.getpid()), "--slot", "0", "--cores", str(core)]
    assert log == f"{given}\n"


def test_an_unknown_engine_is_told_the_known_ones():
    message = "--engine 'locl' is not known; did you mean local? known are local"
    with pytest.raises(SpecError, match=re.escape(message)):
        engine_named("locl")


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_has_all_that_starting_workers_needs(name):
    needed = [n for n in vars(base.Engine) if not n.startswith("_")]
    assert needed and all(hasattr(engine_named(name), n) for n in needed)
