"""Workers that die where they are told to, as processes of their own.

Run as a script it reads orders from standard input, one JSON object a line, forks a
child for each from a process that has imported everything but started no device, and
answers with the children's pids. So hundreds of workers cost little more than their
training.
"""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd

from harness import WSD, AdamW
from harness.store import Store, create_store
from harness.store.files import LocalFiles
from harness.sweeps.options import Terms, TrainOptions, WorkerOptions
from harness.sweeps.plan import plan
from harness.sweeps.sweep import Point
from tests.harness.strategies import mlp_run

KINDS = {
    "claim": r"work/\w+/claim-.*",
    "beat": r"work/\w+/beat-.*",
    "part": r"work/\w+/parts/.*",
    "checkpoint": r"work/\w+/ckpt/.*\d",
    "manifest": r"work/\w+/ckpt/.*\.json",
    "metrics": r"metrics/\w+\.parquet",
    "packed metrics": r"metrics/packed-.*",
    "packed records": r"packed/records-.*",
    "index": r"packed/index-.*",
    "record": r"records/.*",
    "view": r"runs\.parquet",
    "weights": r"weights/\w+/model.*",
    "facts": r"weights/\w+/run\.json",
    "trunk": r"weights/\w+/trunk\.safetensors",
    "trunk facts": r"weights/\w+/trunk\.json",
    "release": r"work/\w+/release-.*",
    "failure": r"failures/.*",
}
CLOCK = [
    "seconds_compile",
    "seconds_train",
    "tokens_per_second",
    "peak_memory",
    "attempts",
]


def runs(trunks, lengths=(12, 24, 40)):
    """`trunks` seeds, each with runs of several lengths that share a trunk.

    Chunks end at powers of two and where a cooldown starts or ends. At 12 and 40 steps
    such an end lies inside the cooldown: 6 to 12, and 20 to 40.
    """
    base = mlp_run(
        evals_per_octave=1,
        optimizer=AdamW(lr=1e-2),
        schedule=WSD(warmup=2, cooldown=0.5),
    )
    return [
        dataclasses.replace(base, seed_init=seed, steps=steps)
        for seed in range(trunks)
        for steps in lengths
    ]


class DeadlyFiles(LocalFiles):
    """Kills its own process before or after the n-th publishing of a kind of file."""

    def __init__(self, root, kind, when, n):
        super().__init__(root)
        self.pattern, self.when, self.left = re.compile(KINDS[kind]), when, n

    def publish(self, name, content, *, durable=True):
        self._meet("before", name)
        super().publish(name, content, durable=durable)
        self._meet("after", name)

    def publish_once(self, name, content):
        self._meet("before", name)
        told = super().publish_once(name, content)
        self._meet("after", name)
        return told

    def put_folder(self, local, name):
        self._meet("before", name)
        super().put_folder(local, name)
        self._meet("after", name)

    def _meet(self, when, name):
        if when == self.when and self.pattern.fullmatch(name):
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)


def be_worker(order):
    """What a child does: works on the sweep of the order, and perhaps dies."""
    from harness.workers import worker
    from harness.workers.worker import Listener, work

    worker.REFRESH_S = order.get("refresh", worker.REFRESH_S)
    folder = Path(order["store"])
    create_store(folder)
    files = DeadlyFiles(folder, *order["die"]) if "die" in order else LocalFiles(folder)
    began, calls = time.monotonic(), [0]

    def pace(_moment):
        calls[0] += 1
        time.sleep(order.get("pause", 0.0))

    def stopping():
        return calls[0] >= order.get("stop_after", 10**9)

    work(
        Store(files),
        plan(
            [Point(run=run) for run in runs(**order["runs"])], order.get("keep", "none")
        ),
        Listener(progress=pace, stopping=stopping, warning=print),
        WorkerOptions(
            terms=Terms(beat_s=order.get("beat", 0.2), stale_s=order.get("stale", 2.0)),
            checkpoint_s=order.get("checkpoint", 0.0),
            poll_s=0.1,
            slot=order.get("slot", 0),
            pack_every=order.get("pack_every", 0),
            train=TrainOptions(population=order.get("population", 1)),
        ),
    )
    return time.monotonic() - began


def serve():
    """Forks a child per line of standard input; reports how each has ended."""
    # Not Orbax: its library starts threads when it is imported, which no fork survives.
    import jax  # noqa: F401

    import harness.workers.worker  # noqa: F401
    from harness.errors import Interrupted

    lock = threading.Lock()

    def say(**answer):
        with lock:
            print("=" + json.dumps(answer), flush=True)

    for line in sys.stdin:
        order = json.loads(line)
        # A thread that prints during the fork would leave the child a locked stdout.
        with lock:
            pid = os.fork()
        if not pid:
            code = 1
            try:
                be_worker(order)
                code = 0
            except Interrupted:
                code = 75
            finally:
                sys.stdout.flush()
                os._exit(code)
        say(began=pid)

        def report(pid=pid):
            say(ended=pid, code=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

        threading.Thread(target=report, daemon=True).start()


class Server:
    """The script above, from the side of a test."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.harness.crashes"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.codes, self.said = {}, []

    def start(self, **order):
        """Starts a worker; returns its pid."""
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._read("began")

    def end(self, pid):
        """Waits for a worker; returns its exit code, negative for a signal."""
        while pid not in self.codes:
            self._read("ended")
        return self.codes[pid]

    def ended(self):
        """Whether any worker's end can be read without waiting."""
        import select

        return bool(select.select([self._process.stdout], [], [], 0.0)[0])

    def work(self, **order):
        """A worker from start to end."""
        return self.end(self.start(**order))

    def close(self):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.kill()
        self._process.wait()

    def _read(self, wanted):
        while line := self._process.stdout.readline():
            if not line.startswith("="):
                self.said.append(line)
                continue
            answer = json.loads(line[1:])
            if "ended" in answer:
                self.codes[answer["ended"]] = answer["code"]
            if wanted in answer:
                return answer[wanted]
        raise AssertionError("the server of workers has died")


def tables(folder):
    """What a store says, less what a clock said and how often it was tried."""
    metrics = pd.concat(
        map(pd.read_parquet, sorted((folder / "metrics").glob("*.parquet")))
    )
    # In a pack they lie with others, and say the same.
    metrics = metrics.sort_values("run_id", kind="stable", ignore_index=True)
    view = pd.read_parquet(folder / "runs.parquet")
    return metrics.drop(columns="wall_s"), view.drop(columns=CLOCK)


def assert_same(one, other):
    """Two stores hold the same runs, to the last bit."""
    for a, b in zip(tables(one), tables(other), strict=True):
        pd.testing.assert_frame_equal(a, b, check_exact=True)


if __name__ == "__main__":
    serve()
