"""Sweeps run from Python: what they leave, tell, refuse, and how they stop."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient

import harness
from analysis.errors import AnalysisError
from harness import MLP, SGD, Constant, RunSpec, Sweep, TeacherStudent, product
from harness.errors import SpecError, StoreError
from harness.sweeps.options import TrainOptions

ROOT = Path(__file__).parents[3]
DATA = TeacherStudent(inputs=4, unique_examples=256, eval_examples=64)
BASE = RunSpec(
    model=MLP(width=3),
    data=DATA,
    optimizer=SGD(lr=0.05),
    schedule=Constant(),
    batch=8,
    evals_per_octave=1,
)
GRID = product(BASE, {"model.width": [2, 3, 5], "steps": [4, 8, 16]})


def script(folder, text, name="mine.py"):
    """A process that runs a script in a folder."""
    (folder / name).write_text(text)
    return subprocess.Popen(
        [sys.executable, name],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def workers_of(folder):
    """Ids of the worker processes of a results folder."""
    ids = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"work" in words and any(str(folder).encode() in word for word in words):
            ids.append(int(process.name))
    return ids


def test_a_sweep_here_is_the_sweep_of_workers(tmp_path):
    here = harness.run(GRID, tmp_path / "here", workers=0, progress=False)
    there = harness.run(Sweep(GRID), tmp_path / "there", workers=1, progress=False)
    assert len(here.runs) == 9
    columns = ["loss", "train_loss", "n_total", "flops_train"]
    pd.testing.assert_frame_equal(
        here.runs.set_index("run_id")[columns], there.runs.set_index("run_id")[columns]
    )
    assert set(here.metrics["run_id"]) == set(here.runs["run_id"])
    assert here.status().counts["done"] == 9 and len(here.plan().runs) == 9
    again = harness.run(GRID, tmp_path / "here", workers=0, progress=False)
    assert len(again.runs) == 9


def test_callbacks_and_events_tell_every_evaluation_and_every_end(tmp_path):
    evaluations, ends = [], []
    study = harness.run(
        GRID,
        tmp_path / "s",
        workers=0,
        progress=False,
        on_evaluation=evaluations.append,
        on_finish=ends.append,
        events=tmp_path / "events.jsonl",
        options=TrainOptions(population=1),
    )
    lines = [
        json.loads(x) for x in (tmp_path / "events.jsonl").read_text().split("\n")[:-1]
    ]
    kinds = [line["event"] for line in lines]
    assert kinds[0] == "sweep_started" and kinds[-1] == "sweep_ended"
    assert (lines[0]["to_do"], lines[-1]["left"]) == (9, 0)
    assert kinds.count("run_finished") == len(ends) == 9
    losses = {end["run_id"]: end["loss"] for end in ends}
    assert losses == dict(study.runs.set_index("run_id")["loss"])
    held_out = study.metrics.query("split == 'eval' and metric == 'loss'")
    told = {(e["run_id"], e["step"]): e["metrics"]["eval/loss"] for e in evaluations}
    assert told == {(r.run_id, r.step): r.value for r in held_out.itertuples()}
    assert len(evaluations) == len(held_out)


def test_a_callback_that_raises_ends_the_sweep_with_one_line(tmp_path):
    with pytest.raises(SpecError, match="'run_finished' raised ZeroDivisionError"):
        harness.run(
            GRID, tmp_path / "s", workers=0, progress=False, on_finish=lambda _: 1 / 0
        )
    with pytest.raises(SpecError, match="on_evaluation raised ZeroDivisionError"):
        harness.train(GRID[0].run, on_evaluation=lambda _: 1 / 0)


def test_what_a_callback_does_to_its_event_changes_nothing(tmp_path):
    def spoil(told):
        told.clear()

    study = harness.run(
        GRID[:2], tmp_path / "s", workers=0, progress=False, on_evaluation=spoil
    )
    assert study.runs["loss"].notna().all()


def test_one_run_has_curves_and_calls_back():
    steps, ends = [], []
    trained = harness.train(
        GRID[2].run, on_evaluation=lambda e: steps.append(e.step), on_finish=ends.append
    )
    assert steps == list(trained.curve.index) == [1, 2, 4, 8, 16]
    assert trained.curve.iloc[-1] == trained.row["loss"] and ends == [trained]
    assert set(trained.metrics["split"]) == {"train", "eval"}


def test_a_study_fits_and_draws(tmp_path):
    study = harness.open_study(ROOT / "results" / "quickstart")
    fit = study.fit("chinchilla", bootstrap=0)
    assert 0 < fit.constants["alpha"] < 3
    with pytest.raises(AnalysisError, match="no column 'params'"):
        study.fit(n="params", bootstrap=0)
    assert "finished runs" in study._repr_html_() and "quickstart" in repr(study)
    with pytest.raises(StoreError, match="keeps no weights"):
        study.load(study.runs["run_id"][0])
    with pytest.raises(StoreError, match="not a results folder"):
        harness.open_study(tmp_path)


PARTS = """
import optax
import harness
from harness import MLP, Constant, RunSpec, TeacherStudent, product
from harness.specs.base import spec
from harness.specs.optimizer import Optimizer


@spec
class Mine(Optimizer):
    name = "mine"
    implementation = f"{__name__}:mine"


def mine(h):
    return optax.sgd(h.lr)


GRID = product(
    RunSpec(
        model=MLP(width=3),
        data=TeacherStudent(inputs=4, unique_examples=256, eval_examples=64),
        optimizer=Mine(lr=0.05),
        schedule=Constant(),
        batch=8,
    ),
    {"steps": [4, 8]},
)
"""
GUARDED = (
    PARTS
    + """
if __name__ == "__main__":
    study = harness.run(GRID, workers=1, progress=False)
    print(len(study.runs), "runs")
"""
)


def test_workers_find_the_parts_of_a_script(tmp_path):
    process = script(tmp_path, GUARDED)
    out, _ = process.communicate()
    assert process.returncode == 0 and "2 runs" in out, out
    assert len(pd.read_parquet(tmp_path / "results/mine/runs.parquet")) == 2


def test_a_script_that_would_run_its_sweep_again_is_refused(tmp_path):
    process = script(
        tmp_path, PARTS + "\nharness.run(GRID, workers=1, progress=False)\n"
    )
    out, _ = process.communicate()
    assert process.returncode and "put harness.run(…) under if __name__ ==" in out
    assert not list((tmp_path / "results" / "mine").glob("records/*"))


LONG = """
import sys
import harness
from harness import MLP, SGD, Constant, RunSpec, TeacherStudent, WorkerOptions, product

if __name__ == "__main__":
    base = RunSpec(
        model=MLP(width=64),
        data=TeacherStudent(inputs=4, unique_examples=256, eval_examples=64),
        optimizer=SGD(lr=0.01), schedule=Constant(), batch=64, steps=3_000_000,
    )
    options = WorkerOptions(checkpoint_s=0.3)
    grid = product(base, {"seed_init": [0, 1]})
    harness.run(grid, sys.argv[1] if len(sys.argv) > 1 else "results/long",
                workers=WORKERS, progress=False, options=options)
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are found in /proc")
@pytest.mark.parametrize("workers", [0, 2])
def test_an_interrupt_leaves_no_process_and_a_checkpoint(workers, tmp_path):
    process = script(tmp_path, LONG.replace("WORKERS", str(workers)))
    folder = tmp_path / "results" / "long"
    for _ in range(600):
        if list(folder.glob("work/*/ckpt/*.json")):
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode != 0 and "KeyboardInterrupt" in out
    assert workers_of(folder) == []
    assert list(folder.glob("work/*/ckpt/*.json"))
    # Every claim has been let go.
    assert len(list(folder.glob("work/*/release-*.json"))) >= max(1, workers)


def test_parts_of_a_notebook_are_refused_before_anything_is_written(tmp_path):
    code = PARTS.replace("spec\nclass", "spec\nclass") + "\nharness.run(GRID, 'out')\n"
    done = subprocess.run(
        [sys.executable, "-"],
        input=code,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stderr.strip().split("\n")[-1].startswith("harness.errors.SpecError: ")
    assert "define it in a file" in done.stderr and not (tmp_path / "out").exists()


def notebook(folder, *cells):
    book = nbformat.v4.new_notebook()
    book.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    return NotebookClient(
        book,
        timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        allow_errors=True,
    )


def test_the_notebook_of_the_examples_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    book = nbformat.read(ROOT / "examples" / "first_study.ipynb", as_version=4)
    client = NotebookClient(
        book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [output for cell in book.cells for output in cell.get("outputs", ())]
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert {"text/html", "image/png"} <= kinds


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are found in /proc")
def test_an_interrupted_cell_leaves_nothing_running(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    folder = tmp_path / "results" / "long"
    code = LONG.replace("WORKERS", "1").replace(
        "sys.argv[1] if len(sys.argv) > 1 else ", ""
    )
    # The kernel interrupts itself once the worker has kept a checkpoint.
    watch = f"""
import os, pathlib, signal, threading, time
def interrupt():
    while not list(pathlib.Path({str(folder)!r}).glob("work/*/ckpt/*.json")):
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt, daemon=True).start()
"""
    client = notebook(tmp_path, watch + code, "print('alive')")
    client.execute()
    first, second = client.nb.cells
    assert first.outputs[-1].ename == "KeyboardInterrupt"
    assert second.outputs[0].text == "alive\n"
    assert workers_of(folder) == []
    assert list(folder.glob("work/*/release-*.json"))


def test_a_process_forked_after_jax_is_refused_and_its_workers_work(tmp_path):
    code = f"""
import multiprocessing, jax, harness
from harness.errors import SpecError
import sys; sys.path.insert(0, {str(ROOT)!r})
from tests.harness.study.test_run import GRID

def child(queue):
    try:
        harness.train(GRID[0].run)
    except SpecError as error:
        queue.put(str(error))
    queue.put(len(harness.run(GRID[:1], "forked", workers=1, progress=False).runs))

if __name__ == "__main__":
    jax.numpy.ones(3).block_until_ready()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=child, args=(queue,))
    process.start()
    print(queue.get(timeout=60), queue.get(timeout=60))
    process.join()
"""
    process = script(tmp_path, code)
    out, _ = process.communicate(timeout=120)
    assert "use multiprocessing.get_context('spawn') 1" in out, out
