"""Mirrors hold what the folder holds, row for row, whatever dies or refuses."""

import errno
import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from harness.errors import SpecError
from harness.store import add_sweep, create_store
from harness.sweeps.options import WorkerOptions
from harness.sweeps.plan import plan, sweep_record
from harness.sweeps.sweep import product
from harness.trackers.base import TRACKERS, Row, tracker_at
from harness.trackers.mirror import Mirror
from harness.workers.worker import work
from tests.harness.strategies import ALONE, mlp_run

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A finished sweep of three runs."""
    store = create_store(str(tmp_path_factory.mktemp("swept") / "store"))
    made = plan(product(mlp_run(), {"steps": [8, 16, 40]}))
    add_sweep(store, sweep_record(made, name="three", doc=""))
    work(store, made, options=WorkerOptions(train=ALONE))
    return store


def expected(store):
    """(run, step, metric) -> value, as the folder has it."""
    rows = pd.read_parquet(store.folder / "metrics")
    return {
        (r.run_id, r.step, f"{r.split}/{r.metric}"): r.value for r in rows.itertuples()
    }


@pytest.fixture(autouse=True)
def fresh_ledger(store):
    yield
    for file in (store.folder / "work" / "mirrors").glob("*"):
        file.unlink()


def of_tensorboard(folder):
    from tensorboard.backend.event_processing.event_accumulator import (
        EventAccumulator,
    )

    found = {}
    for run in Path(folder).iterdir():
        events = EventAccumulator(str(run), {"scalars": 0}).Reload()
        for tag in events.Tags()["scalars"]:
            for scalar in events.Scalars(tag):
                place = (run.name, scalar.step, tag)
                assert place not in found
                found[place] = scalar.value
    return found


def of_mlflow(uri):
    from mlflow.tracking import MlflowClient

    client, found = MlflowClient(uri), {}
    (experiment,) = [e for e in client.search_experiments() if e.name == "three"]
    for run in client.search_runs([experiment.experiment_id]):
        run_id = run.data.tags["harness.run_id"]
        for tag in run.data.metrics:
            if not tag.startswith("final/"):
                for metric in client.get_metric_history(run.info.run_id, tag):
                    place = (run_id, metric.step, tag)
                    assert place not in found
                    found[place] = metric.value
    return found


def records(file):
    """The records of a .wandb file: LevelDB's log format after a head of 7 bytes."""
    content, place, parts = file.read_bytes(), 7, []
    while place + 7 <= len(content):
        room = 2**15 - place % 2**15
        if room < 7:
            place += room
            continue
        _, size, kind = struct.unpack_from("<IHB", content, place)
        place += 7 + size
        parts.append(content[place - size : place])
        if kind in (1, 4):
            yield b"".join(parts)
            parts = []


def of_wandb(folder):
    from wandb.proto import wandb_internal_pb2

    found = {}
    for file in Path(folder).glob("wandb/offline-run-*/run-*.wandb"):
        for content in records(file):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(content)
            if record.WhichOneof("record_type") == "history":
                items = {
                    item.key or "/".join(item.nested_key): json.loads(item.value_json)
                    for item in record.history.item
                }
                for tag, value in items.items():
                    if "/" in tag:
                        place = (file.stem.removeprefix("run-"), items["_step"], tag)
                        assert place not in found
                        found[place] = value
    return found


READERS = {
    "tensorboard": lambda folder: (f"tensorboard:{folder}/tb", of_tensorboard),
    "mlflow": lambda folder: (f"mlflow:sqlite:///{folder}/runs.db", of_mlflow),
    "wandb": lambda folder: ("wandb:ours", of_wandb),
}


def read(name, folder):
    _, reader = READERS[name](folder)
    places = {
        "tensorboard": folder / "tb",
        "mlflow": f"sqlite:///{folder}/runs.db",
        "wandb": folder,
    }
    return reader(places[name])


def environment(folder):
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(folder),
    }


def mirror(store, folder, target, *options):
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "harness",
            "mirror",
            store.uri,
            "--to",
            target,
            *options,
        ],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("name", TRACKERS)
def test_a_mirror_holds_the_curves_after_three_kills(name, store, tmp_path):
    pytest.importorskip(name)
    target, _ = READERS[name](tmp_path)
    if name == "mlflow":
        # A database that is killed while its tables are made is no mirror's to mend.
        from mlflow.tracking import MlflowClient

        MlflowClient(target.partition(":")[2]).search_experiments()
    for seconds in (1.5, 2.5, 4.0):
        process = mirror(store, tmp_path, target)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    process = mirror(store, tmp_path, target)
    out, _ = process.communicate()
    assert process.returncode == 0 and "all finished runs are mirrored" in out, out
    found, wanted = read(name, tmp_path), expected(store)
    assert found.keys() == wanted.keys()
    assert found == pytest.approx(wanted, rel=1e-6)


class Remembers:
    """A tracker in memory that dies when it is told to."""

    starts_over = False

    def __init__(self, dies_at=None):
        self.rows, self.ended, self.calls, self.dies_at = {}, {}, 0, dies_at

    def _call(self):
        self.calls += 1
        if self.calls == self.dies_at:
            raise OSError(errno.ENOSPC, "No space left on device")

    def begin(self, run_id, name, facts):
        self._call()
        assert facts["optimizer.name"] == "adamw" and "grid.steps" in facts

    def add(self, run_id, rows):
        self._call()
        for row in rows:
            assert isinstance(row, Row)
            for tag, value in row.values.items():
                assert (run_id, row.step, tag) not in self.rows
                self.rows[run_id, row.step, tag] = value

    def end(self, run_id, summary):
        self._call()
        self.ended[run_id] = summary

    def close(self):
        pass


def test_nothing_is_sent_twice_and_nothing_left_out(store, monkeypatch):
    monkeypatch.setattr("harness.trackers.mirror.BATCH", 2)
    tracker = Remembers()
    for dies_at in (2, 5, 9, None):
        tracker.calls, tracker.dies_at = 0, dies_at
        mirrored = Mirror(store, tracker, "memory")
        try:
            mirrored.send()
        except OSError:
            assert mirrored.left()
    assert tracker.rows == expected(store) and mirrored.left() == 0
    losses = {i: summary["loss"] for i, summary in tracker.ended.items()}
    assert losses == {i: store.record(i)["row"]["loss"] for i in store.finished()}
    calls = tracker.calls
    Mirror(store, tracker, "memory").send()
    assert tracker.calls == calls


EXPERIMENT = '''"""Does a tracker matter?"""
from harness import MLP, SGD, Constant, RunSpec, Sweep, TeacherStudent, product
BASE = RunSpec(
    model=MLP(width=4), batch=8, optimizer=SGD(lr=0.05), schedule=Constant(),
    data=TeacherStudent(inputs=4, unique_examples=256, eval_examples=64),
)
SWEEP = Sweep(product(BASE, {"steps": [8, 16, 32]}))
'''
HANGS = "import time\ntime.sleep(10**6)\n"
REFUSES = "raise OSError(28, 'No space left on device')\n"


def sweep(folder, *arguments, **variables):
    (folder / "mine.py").write_text(EXPERIMENT)
    command = [sys.executable, "-m", "harness", "run", "mine.py", "--no-report"]
    return subprocess.run(
        [*command, "--workers", "1", *arguments],
        cwd=folder,
        env={**environment(folder), **variables},
        capture_output=True,
        text=True,
    )


def test_a_sweep_is_tracked_while_it_runs(tmp_path):
    pytest.importorskip("tensorboard")
    done = sweep(tmp_path, "--track", "tensorboard:board")
    assert done.returncode == 0, done.stderr + done.stdout
    rows = pd.read_parquet(tmp_path / "results" / "mine" / "metrics")
    assert len(of_tensorboard(tmp_path / "board")) == len(rows)


@pytest.mark.parametrize("code", [HANGS, REFUSES], ids=["hangs", "refuses"])
def test_a_tracker_in_trouble_costs_a_line(code, tmp_path):
    """The package that the tracker needs is replaced by one in trouble."""
    package = tmp_path / "tensorboard"
    package.mkdir()
    (package / "__init__.py").write_text(code)
    path = f"{tmp_path}{os.pathsep}{ROOT}"
    patience = "import harness.trackers.processes as p; p.LAST_PASS_S = 1.0\n"
    (tmp_path / "sitecustomize.py").write_text(patience)
    done = sweep(tmp_path, "--track", "tensorboard:board", PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    rest = (
        "does not have all of it; `harness mirror results/mine --to tensorboard:board`"
    )
    assert done.stdout.count(rest) == 1, done.stdout
    # Whether it is seen to fail before the sweep has ended is a matter of speed.
    early = "ended (tracker tensorboard:board failed: OSError: [Errno 28] No"
    told = done.stdout.count("tracker tensorboard:board")
    assert told <= 3 and (code == REFUSES or early not in done.stdout)
    assert len(pd.read_parquet(tmp_path / "results" / "mine" / "runs.parquet")) == 3


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("tensorbord", "not known; did you mean tensorboard"),
        ("comet", "known are tensorboard, wandb, mlflow"),
    ],
)
def test_an_unknown_tracker_is_one_line(target, message):
    with pytest.raises(SpecError, match=message):
        tracker_at(target, "three")


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow.entities", None)
    monkeypatch.delitem(sys.modules, "harness.trackers.mlflow", raising=False)
    with pytest.raises(SpecError, match=r"scaling-harness\[trackers\]"):
        tracker_at("mlflow", "three")
