"""Requests to stop as batch systems, terminals and launchers make them."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from harness.study.launch import logs_of

WAITING = """
import time
from harness.cli import stopping
stopping.GRACE_S = {grace}
stopping.STOPPER.listen()
with stopping.STOPPER.at_safe_points():
    print("ready", flush=True)
    while not stopping.STOPPER.requested:
        time.sleep(0.01)
    time.sleep(2)
    print("kept", flush=True)
"""
LONG = """
'''Does a long run stop?'''
from harness import MLP, AdamW, WSD, RunSpec, Sweep, TwoMoons, product

BASE = RunSpec(
    model=MLP(width=8), data=TwoMoons(unique_examples=64, eval_examples=32),
    optimizer=AdamW(lr=1e-3), schedule=WSD(), batch=16,
)
SWEEP = Sweep(product(BASE, {"steps": [10_000_000]}))
"""


def outcome(*signals, pause=0.05, grace=10.0):
    """What a process says that is sent these signals, and its exit code."""
    code = WAITING.format(grace=grace)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    for number in signals:
        process.send_signal(number)
        time.sleep(pause)
    out, _ = process.communicate(timeout=60)
    return out, process.returncode


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGUSR2", "SIGHUP"])
def test_a_signal_waits_for_the_next_safe_point(name):
    assert outcome(getattr(signal, name)) == (b"kept\n", 0)


@pytest.mark.parametrize("pause", [0.05, 1.0])
def test_a_repeated_signal_is_one_request(pause):
    assert outcome(*[signal.SIGTERM] * 2, pause=pause) == (b"kept\n", 0)


def test_a_third_signal_ends_at_once():
    assert outcome(*[signal.SIGTERM] * 3) == (b"", 75)


def test_a_second_signal_after_the_grace_ends_at_once():
    assert outcome(*[signal.SIGTERM] * 2, pause=0.5, grace=0.2) == (b"", 75)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the children in /proc")
def test_a_signal_to_launcher_and_worker_together_checkpoints_and_lets_go(tmp_path):
    (tmp_path / "long.py").write_text(LONG)
    command = [sys.executable, "-m", "harness", "run", "long.py", "--no-report"]
    launcher = subprocess.Popen(
        [*command, "--out", "store", "--workers", "1"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    work, end = tmp_path / "store" / "work", time.monotonic() + 120
    while not list(work.glob("*/claim-*.json")):
        assert time.monotonic() < end and launcher.poll() is None
        time.sleep(0.05)
    task = f"/proc/{launcher.pid}/task/{launcher.pid}/children"
    with open(task) as children:
        workers = [int(pid) for pid in children.read().split()]
    for pid in (launcher.pid, *workers):
        os.kill(pid, signal.SIGTERM)
    assert launcher.wait(timeout=120) == 75
    assert len(list(work.glob("*/release-*.json"))) == 1
    assert list(work.glob("*/ckpt/*.json"))


def test_logs_of_a_remote_store_lie_in_a_folder_of_ones_own():
    first, second = (logs_of(SimpleNamespace(folder=None)) for _ in range(2))
    assert first != second
    assert {folder.stat().st_mode & 0o777 for folder in (first, second)} == {0o700}
    first.rmdir()
    second.rmdir()
