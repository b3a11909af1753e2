"""Arrays in memory: kept by content, split for good, refused where they are wrong."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import harness
from harness import CNN, MLP, RNN, Arrays, LinearRNN, Transformer
from harness.data.arrays.read import folder_of
from harness.data.dataset import load
from harness.errors import DataError, SpecError
from harness.specs.reading import check_files
from harness.specs.run import RunSpec
from harness.sweeps.options import TrainOptions
from tests.harness.strategies import mlp_run

ROOT = Path(__file__).parents[3]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 5)).astype("float32")
Y = X[:, :2] @ RNG.normal(size=(2, 1))
LABELS = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_spec_follows_the_content_not_the_container_or_the_name():
    spec = Arrays.of(X, Y)
    assert spec == Arrays.of(jnp.asarray(X), jnp.asarray(Y)) == Arrays.of(X.tolist(), Y)
    assert spec != Arrays.of(X, -Y)
    named = Arrays.of(X, Y, label="mine")
    assert named.identity() == spec.identity() and named.label == "mine"
    again = Arrays.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec and (spec.examples, spec.held_out) == (54, 6)


def test_the_split_is_fixed_and_holds_shares_of_all_classes():
    spec = Arrays.of(X, LABELS, held_out=0.2)
    data = load(spec, 0)
    both = np.concatenate([data.train["x"], data.held_out["x"]])
    assert {r.tobytes() for r in both} == {r.tobytes() for r in X} and len(both) == 60
    counts = np.bincount(data.held_out["y"], minlength=3)
    np.testing.assert_allclose(counts, np.bincount(LABELS) * 0.2, atol=1)
    other = load(spec, 7)
    assert all(np.array_equal(data.train[k], other.train[k]) for k in data.train)


def test_a_subset_lies_inside_a_larger_one():
    spec = Arrays.of(X, Y)
    few, more = (
        load(dataclasses.replace(spec, unique_examples=n), 3).examples for n in (10, 30)
    )
    assert set(few) < set(more) and len(few) == 10
    with pytest.raises(SpecError, match="100 were asked for but arrays has 54"):
        Arrays.of(X, Y, unique_examples=100)


SHAPES = {
    "vectors": (lambda: Arrays.of(X, Y), MLP(width=4)),
    "labels": (lambda: Arrays.of(X, LABELS), MLP(width=4)),
    "images": (
        lambda: Arrays.of(RNG.random((40, 8, 8, 3)), LABELS[:40]),
        CNN(channels=(4,)),
    ),
    "sequences": (lambda: Arrays.of(RNG.normal(size=(40, 6, 3)), Y[:40]), RNN(width=4)),
    "labelled tokens": (
        lambda: Arrays.of(RNG.integers(0, 9, (40, 6)), LABELS[:40], vocab=9),
        RNN(width=4),
    ),
    "text": (
        lambda: Arrays.of(RNG.integers(0, 70_000, 400), context=8),
        LinearRNN(width=4, depth=1),
    ),
    "rows of text": (
        lambda: Arrays.of(RNG.integers(0, 30, (40, 9)), vocab=32),
        Transformer(width=8, depth=1, heads=2),
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_every_kind_trains(name):
    make, model = SHAPES[name]
    data = make()
    run = mlp_run(model=model, data=data, steps=4, batch=4)
    row = harness.train(run, TrainOptions(population=1)).row
    assert np.isfinite(row["loss"]) and row["tokens"] == run.tokens
    assert row["data.digest"] == data.digest


def test_text_predicts_the_next_of_each_token():
    stream = np.arange(100)
    data = load(Arrays.of(stream, context=9, held_out=0.2), 0)
    inputs, targets = data.gather(data.train, np.array([0, 3]))
    assert inputs.shape == (2, 9) and np.array_equal(targets, inputs + 1)


WRONG = {
    "ragged": (lambda: Arrays.of([[1.0], [1.0, 2.0]], [0, 1]), "rows of different len"),
    "words": (lambda: Arrays.of([["a"], ["b"]], [0, 1]), "not a rectangular array of"),
    "empty": (lambda: Arrays.of(X[:0], Y[:0]), "is empty"),
    "lengths": (lambda: Arrays.of(X, Y[:-1]), "60 inputs but 59 targets"),
    "nan": (lambda: Arrays.of(X * np.nan, Y), "x holds numbers that are not finite"),
    "inf": (lambda: Arrays.of(X, Y / 0.0), "y holds numbers that are not finite"),
    "rank": (lambda: Arrays.of(X[:, 0], Y), r"x of shape \(60,\) is none of \(n, I\)"),
    "negative": (lambda: Arrays.of(X, LABELS - 1), "whole numbers from 0"),
    "halves": (lambda: Arrays.of(X, Y, target="class"), "whole numbers from 0"),
    "classes": (lambda: Arrays.of(X, LABELS, classes=2), "y holds 2, but classes is 2"),
    "vocab": (lambda: Arrays.of(np.arange(80), context=4, vocab=9), "but vocab is 9"),
    "bright": (
        lambda: Arrays.of(np.full((9, 4, 4, 1), 200.0), LABELS[:9]),
        "give bytes",
    ),
    "share": (lambda: Arrays.of(X, Y, held_out=0.01), "held_out 0.01 of 60 examples"),
    "other": (lambda: Arrays.of(X, Y, held_out=(X[:4, :3], Y[:4])), "must be equal"),
    "text": (lambda: Arrays.of(X[:, 0]), r"is text: give \(n, T \+ 1\) token ids"),
    "short": (lambda: Arrays.of(np.arange(5), context=8), "fewer than one window"),
}


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
@pytest.mark.parametrize("name", WRONG)
def test_wrong_arrays_are_refused_in_one_line(name):
    make, message = WRONG[name]
    with pytest.raises(DataError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_arrays_that_are_gone_or_changed_are_named():
    spec = Arrays.of(X, Y, label="mine")
    file = folder_of(spec.digest) / "x.npy"
    content = file.read_bytes()
    file.write_bytes(content[:-4] + b"\0\0\0\1")
    with pytest.raises(DataError, match="does not hold the arrays of mine"):
        check_files(spec)
    file.write_bytes(content[:90])
    with pytest.raises(DataError, match=r"x\.npy is missing or damaged"):
        check_files(spec)
    shutil.rmtree(folder_of(spec.digest))
    with pytest.raises(DataError, match=r"arrays 'mine' .* are not on this machine"):
        check_files(spec)


EXPERIMENT = '''"""Do arrays train?"""
import numpy as np
from harness import MLP, SGD, Arrays, Constant, RunSpec, Sweep, product
rng = np.random.default_rng(0)
x = rng.normal(size=(200, 3))
BASE = RunSpec(
    model=MLP(width=4), data=Arrays.of(x, x.sum(axis=1)), batch=8,
    optimizer=SGD(lr=0.05), schedule=Constant(),
)
SWEEP = Sweep(product(BASE, {"steps": [16, 32]}))
'''


def test_a_worker_elsewhere_finds_the_arrays_in_the_results_folder(tmp_path):
    (tmp_path / "mine.py").write_text(EXPERIMENT)

    def command(*arguments, cache):
        done = subprocess.run(
            [sys.executable, "-m", "harness", *arguments],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "XDG_CACHE_HOME": str(tmp_path / cache),
            },
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr + done.stdout

    command("run", "mine.py", "--workers", "0", cache="here")
    (tmp_path / "mine.py").unlink()
    command("work", "results/mine", cache="elsewhere")
    assert len(pd.read_parquet(tmp_path / "results/mine/runs.parquet")) == 2
    command("doctor", "results/mine", cache="elsewhere")


def test_only_its_examples_are_a_choice_among_the_same_arrays():
    spec = Arrays.of(X, Y)
    few = dataclasses.replace(spec, unique_examples=9)
    assert few.program_key() == spec.program_key()
    assert isinstance(mlp_run(data=few), RunSpec)
