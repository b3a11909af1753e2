"""Parts of a user's own: trained, resumed, told from edited ones, and refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[3]
PARTS = (Path(__file__).parents[1] / "own_parts.py").read_text()
FILE = "experiments/own.py"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / FILE).write_text(PARTS)
    return tmp_path


def start(folder, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "harness", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def harness(folder, *arguments):
    process = start(folder, *arguments)
    out, _ = process.communicate()
    return process.returncode, out


def runs_of(folder, name="own"):
    table = pd.read_parquet(folder / "results" / name / "runs.parquet")
    return table.set_index("run_id").sort_index()


def losses_of(folder, name="own"):
    return runs_of(folder, name)[["loss", "within", "worst", "train_loss"]]


def edit(folder, old, new):
    text = (folder / FILE).read_text()
    assert text.count(old) == 1
    (folder / FILE).write_text(text.replace(old, new))


def test_one_file_of_own_parts_trains_resumes_and_knows_its_edits(folder):
    slow = ("--set", "steps=3000", "--no-report")
    alone = ("--population", "1", "--checkpoint", "0.2", "--workers", "2")
    calm = harness(folder, "run", "own", *slow, *alone, "--out", "results/calm")
    assert calm[0] == 0, calm[1]
    torn = start(folder, "run", "own", *slow, *alone, "--out", "results/torn")
    work = folder / "results" / "torn" / "work"
    for _ in range(600):
        if list(work.glob("*/ckpt/*.json")):
            break
        time.sleep(0.1)
    torn.send_signal(signal.SIGKILL)
    torn.communicate()
    code, out = harness(folder, "run", "own", *slow, *alone, "--out", "results/torn")
    assert code == 0, out
    pd.testing.assert_frame_equal(losses_of(folder, "calm"), losses_of(folder, "torn"))
    # Side by side, the same up to rounding.
    wide = ("--population", "2", "--workers", "1", "--out", "results/wide")
    assert harness(folder, "run", "own", *slow, *wide)[0] == 0
    together, each = losses_of(folder, "wide"), losses_of(folder, "calm")
    pd.testing.assert_frame_equal(together, each, rtol=1e-2)
    assert set(runs_of(folder, "wide")["population"]) == {2}


def test_an_edit_trains_anew_what_it_concerns(folder):
    quick = ("run", "own", "--workers", "1", "--no-report")
    assert harness(folder, *quick)[0] == 0
    first = runs_of(folder)
    assert len(first) == 4
    # Comments, blank lines, docstrings and line breaks concern nothing.
    edit(
        folder,
        "    return optax.sgd(h.lr,",
        "    # plain\n\n    return optax.sgd(\n h.lr,",
    )
    edit(folder, "The largest miss.", "The worst of all misses.")
    code, out = harness(folder, *quick)
    assert code == 0 and "nothing to train" in out
    # An optimiser that is another one concerns all of its runs.
    edit(folder, "momentum=h.decay", "momentum=h.decay, nesterov=True")
    code, out = harness(folder, "plan", "own")
    assert code == 0 and "4 finished runs are of older code" in out
    # A worker with the old sweep and the new file trains nothing under old ids.
    code, out = harness(folder, "work", "results/own", "--experiment", FILE)
    assert code == 2 and "the code of optimizer own_momentum has changed" in out
    assert harness(folder, *quick)[0] == 0
    assert len(runs_of(folder)) == 8
    assert (
        "4 finished runs are of older code"
        in harness(folder, "status", "results/own")[1]
    )


def test_nothing_but_training_needs_the_file(folder):
    assert harness(folder, "run", "own", "--workers", "0")[0] == 0
    code, out = harness(folder, "work", "results/own")
    assert code == 2 and "own.py defines; give --experiment FILE" in out
    assert harness(folder, "run", "own", "--workers", "1", "--no-report")[0] == 0
    (folder / FILE).unlink()
    for command in ("status", "doctor", "report"):
        code, out = harness(folder, command, "results/own")
        assert code == 0, out


WRONG = {
    "a state that depends on the rate": (
        "    return optax.sgd(h.lr, momentum=h.decay)",
        "    return optax.inject_hyperparams(optax.sgd)(h.lr)",
        "optimizer own_momentum: its initial state depends on the learning rate",
    ),
    "a rate that decides": (
        "    return optax.sgd(h.lr, momentum=h.decay)",
        "    return optax.sgd(h.lr if h.lr > 1 else 1.0)",
        "optimizer own_momentum: TracerBoolConversionError",
    ),
    "a rate that is no number": (
        "steps), 1.0, 0.5)",
        "steps), 1.0, np.nan)",
        "schedule own_halving gives a rate of nan at step 24",
    ),
    "a trunk that knows its length": (
        "steps), 1.0, 0.5)",
        "steps), 1.0 / steps, 0.5)",
        "schedule own_halving has other rates in runs of 32 and of 64 steps at step 0",
    ),
    "ragged rows": (
        "arrays = {",
        "x = np.array([[1.0], [1.0, 2.0]] * 80, dtype=object)\n    arrays = {",
        "data source own_waves: ValueError: setting an array element with a sequence",
    ),
    "inputs of another width": (
        "size=(spec.examples + 32, 2))",
        "size=(spec.examples + 32, 3))",
        "data source own_waves: training inputs have shape (3,) an example; the spec",
    ),
    "a number that is none": (
        "arrays = {",
        "y[5] = np.inf\n    arrays = {",
        "data source own_waves: training targets hold a number that is not finite",
    ),
    "a loss of the wrong shape": (
        "delta=h.delta).mean(axis=-1)",
        "delta=h.delta).mean()",
        "loss own_huber returns shape () for a batch of 4; return a number for each",
    ),
    "a metric of the wrong type": (
        'h.tolerance, axis=-1, dtype="float32")',
        "h.tolerance, axis=-1) > 0.5",
        "metric within returns bool, not reals",
    ),
    "code that is not there": (
        'f"{__name__}:huber"',
        'f"{__name__}:hubert"',
        "loss own_huber names 'experiments.own:hubert', which cannot be imported",
    ),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_part_is_one_line_and_nothing_is_written(fault, folder):
    old, new, message = WRONG[fault]
    edit(folder, old, new)
    code, out = harness(folder, "run", "own", "--workers", "1")
    assert (code, message in out) == (2, True), out
    assert len(out.strip().splitlines()) == 1
    assert not (folder / "results").exists()


def test_labels_out_of_range_are_refused(folder):
    edit(folder, "outputs=1)", 'outputs=3, target="class")')
    edit(
        folder, "y = np.sin(x.sum(axis=1, keepdims=True))", "y = np.arange(len(x)) % 4"
    )
    edit(folder, "    loss=Huber(),\n    metrics=(Within(), Worst()),\n", "")
    edit(folder, '"loss.delta": [0.3, 1.0], ', "")
    code, out = harness(folder, "run", "own", "--workers", "1")
    assert code == 2 and "targets lie in 0.0 … 3.0; they must lie in 0 … 2" in out


def test_a_class_whose_source_cannot_be_read_is_refused():
    code = (
        "import harness\n"
        "from harness.specs.base import spec\n"
        "from harness.specs.optimizer import Optimizer\n"
        "@spec\nclass Typed(Optimizer):\n    name = 'typed'\n"
        "    implementation = 'harness.optimizers.update:sgd'\n"
        "Typed(lr=1.0).identity()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert "SpecError: the source of Typed cannot be read" in done.stderr


def test_parts_of_another_package_are_found_by_entry_points(tmp_path):
    info = tmp_path / "theirs-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[harness.parts]\ntheirs = theirs\n")
    signs = (Path(__file__).parents[1] / "new_optimizer.py").read_text()
    (tmp_path / "theirs.py").write_text(signs)
    code = (
        "from harness.specs.optimizer import Optimizer\n"
        "values = {'name': 'sign_momentum', 'lr': 0.5, 'clip': 1.0, 'beta': 0.9}\n"
        "from harness.specs.registry import find\n"
        "cls = find(Optimizer, 'sign_momentum')\n"
        "import json; print(json.dumps(cls(lr=0.5).to_dict()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
    )
    values = json.loads(done.stdout)
    assert values["name"] == "sign_momentum" and len(values["code"]) == 16
