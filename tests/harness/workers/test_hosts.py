"""One run over several hosts: processes on the loopback interface stand in for them."""

import signal
import socket
import subprocess
import sys
import time

import pandas as pd
import pytest

from harness.errors import SpecError
from harness.workers.hosts import join

LONG = """
'''Does a run over two hosts equal the one on a single host?'''
from harness import AdamW, WSD, RunSpec, Sweep, Text, Transformer, product

BASE = RunSpec(
    model=Transformer(width=16, depth=1, heads=2),
    data=Text(context=16, eval_sequences=16),
    optimizer=AdamW(lr=1e-2, weight_decay=0.1), schedule=WSD(warmup=2),
    batch=4,
)
SWEEP = Sweep(product(BASE, {"steps": [100, 700]}))
"""


@pytest.fixture
def store(tmp_path):
    (tmp_path / "long.py").write_text(LONG)
    return tmp_path


def call(store, *args, **popen):
    command = [sys.executable, "-m", "harness", *map(str, args)]
    return subprocess.Popen(command, cwd=store, text=True, **popen)


def written(store, name):
    """A store with the sweep in it."""
    args = ("run", "long.py", "--workers", 0, "--out", name)
    assert call(store, *args).wait() == 0
    return store / name


def pair(store, name):
    """Both processes of a worker, the leader first."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = []
    for index in range(2):
        how = f"127.0.0.1:{port},{index},2"
        args = ("work", name, "--hosts", how, "--checkpoint", 1)
        both.append(call(store, *args, stderr=subprocess.PIPE))
    return both


def ended(both):
    """Exit codes of both processes; none may wait for ever."""
    try:
        return [process.wait(timeout=120) for process in both]
    finally:
        for process in both:
            process.kill()


def losses(folder):
    runs = pd.read_parquet(folder / "runs.parquet").sort_values("steps")
    return runs["loss"].tolist()


def test_two_hosts_train_what_one_does_and_stop_and_go_on_together(store):
    calm = written(store, "calm")
    assert ended(pair(store, "calm")) == [0, 0]

    stopped = written(store, "stopped")
    both = pair(store, "stopped")
    while not list(stopped.glob("work/*/ckpt/*.json")):
        assert both[0].poll() is None
        time.sleep(0.05)
    both[0].send_signal(signal.SIGTERM)
    assert ended(both) == [75, 0]
    assert len(list(stopped.glob("records/*.json"))) < 2
    assert ended(pair(store, "stopped")) == [0, 0]
    assert losses(stopped) == losses(calm)

    written(store, "alone")
    assert call(store, "work", "alone").wait() == 0
    assert losses(store / "alone") == pytest.approx(losses(calm), rel=1e-4)
    assert set(pd.read_parquet(calm / "runs.parquet")["devices"]) == {2}


@pytest.mark.parametrize("how", ["nonsense", "a:1,2", "a:1,x,2"])
def test_what_says_no_hosts_is_refused(how):
    with pytest.raises(SpecError, match="give auto, or ADDRESS:PORT,INDEX,COUNT"):
        join(how)
