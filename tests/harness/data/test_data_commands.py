"""`harness data`, and sweeps on data that are bad or absent: one line, exit code 2."""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness import Images, Table
from harness.data import files
from harness.data.catalog import CATALOG, NamedImages
from harness.data.dataset import load
from harness.data.download import fetch, hub
from harness.specs.reading import resolve
from tests.harness.data.test_fetch import CONTENT, in_cache, offer, server
from tests.harness.data.test_hub import PIXELS
from tests.harness.data.test_images import (
    BAD_FOLDERS,
    cut,
    npz,
    small,
    spec_of,
    write_mnist,
)

__all__ = ["server"]

SWEEP = """
'''Does a tiny sweep work?'''
from harness import MLP, Images, AdamW, WSD, RunSpec, Sweep, product

BASE = RunSpec(
    model=MLP(width=8, depth=1),
    data=Images(data={data!r}, {shape}),
    optimizer=AdamW(lr=1e-3), schedule=WSD(),
    batch=4,
)
SWEEP = Sweep(product(BASE, {{"steps": [4]}}))
"""
OWN_SOURCE = (
    (Path(__file__).parents[1] / "new_source.py").read_text()
    + """

from harness import MLP, AdamW, WSD, RunSpec, Sweep, product

BASE = RunSpec(
    model=MLP(width=8, depth=1), data=Products(), batch=4,
    optimizer=AdamW(lr=1e-3), schedule=WSD(),
)
SWEEP = Sweep(product(BASE, {"steps": [4]}))
"""
)
SHAPE = "height=6, width=5, channels=1, classes=4"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def write_sweep(folder, data, shape=SHAPE, name="tiny"):
    file = folder / f"{name}.py"
    file.write_text(SWEEP.format(data=str(data), shape=shape))
    return file


def one_line(code, out, err):
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1
    return err


def test_list_shows_what_is_here(folder, harness):
    code, out, _ = harness("data", "list", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0 and {"mnist", "cifar10", "enwik8"} <= set(rows)
    assert not any(row["folder"] for row in rows.values())
    (files.cache_folder() / "mnist").mkdir(parents=True)
    rows = {r["name"]: r for r in json.loads(harness("data", "list", "--json")[1])}
    assert rows["mnist"]["folder"] and not rows["cifar10"]["folder"]
    assert "mnist             here" in harness("data", "list")[1]


def test_fetching_an_unknown_set_is_one_line(folder, harness):
    assert "known are mnist" in one_line(*harness("data", "fetch", "mnits"))


def test_a_sweep_on_data_that_are_not_here_says_how_to_get_them(folder, harness):
    write_sweep(folder, "cifar10", "")
    for command in ("plan", "run"):
        found = one_line(*harness(command, "tiny.py"))
        assert "cifar10 is not on this machine" in found
        assert "`harness data fetch cifar10`" in found
    assert not (folder / "results").exists()


def test_a_sweep_on_truncated_images_is_refused_in_one_line(folder, harness):
    write_mnist(folder / "set")
    cut(folder / "set" / "train-images-idx3-ubyte")
    write_sweep(folder, folder / "set")
    found = one_line(*harness("run", "tiny.py"))
    assert "train-images-idx3-ubyte is truncated" in found


def untouched(folder):
    """Whether a command has left neither results nor anything in the data cache."""
    return not (folder / "results").exists() and not files.cache_folder().exists()


@pytest.mark.parametrize("name", BAD_FOLDERS)
def test_bad_image_files_are_refused_in_one_line(folder, harness, name):
    damage, _ = BAD_FOLDERS[name]
    write_mnist(folder / "set")
    damage(folder / "set")
    write_sweep(folder, folder / "set")
    for command in ("plan", "run"):
        assert str(folder / "set") in one_line(*harness(command, "tiny.py"))
    assert untouched(folder)
    one_line(*harness("data", "import", "images", "mnist", folder / "set"))
    assert untouched(folder)


def test_images_of_unequal_size_are_refused_in_one_line(folder, harness):
    ragged = np.empty(8, object)
    ragged[:] = [np.zeros((6 + k % 2, 5), np.uint8) for k in range(8)]
    npz(folder / "set.npz", **small(x=ragged))
    write_sweep(folder, folder / "set.npz")
    assert "must all have one size" in one_line(*harness("run", "tiny.py"))
    assert untouched(folder)


TEXT = """
'''Does a tiny sweep work?'''
from harness import AdamW, WSD, RunSpec, Sweep, Text, Transformer, product

BASE = RunSpec(
    model=Transformer(width=8, depth=1, heads=1),
    data=Text(corpus={corpus!r}, context=8, eval_sequences=2, vocab=300),
    optimizer=AdamW(lr=1e-3), schedule=WSD(),
    batch=2,
)
SWEEP = Sweep(product(BASE, {{"steps": [2]}}))
"""


@pytest.mark.parametrize(
    ("name", "content", "side", "message"),
    [
        ("a.txt", b"", None, "a.txt is empty"),
        ("a.txt", b"short", None, "fewer than one window"),
        ("a.bin", bytes(2001), None, "not hold whole uint16"),
        ("a.bin", bytes(2000), {"vocab": 9}, "vocabulary of 9 (says a.json)"),
        ("a.bin", bytes(2000), {"tokens": 7}, "a.json says 7 below 300"),
        ("a.bin", b"\xff" * 2000, {}, "1,000 tokens up to 65535, but a.json says"),
        ("a.bin", bytes(2000), {"vocab": None}, "a.bin was written with"),
    ],
)
def test_bad_texts_are_refused_in_one_line(
    folder, harness, name, content, side, message
):
    (folder / name).write_bytes(content)
    if side is not None:
        said = {"vocab": 300, "tokens": 1000, "bytes_per_token": 2.0} | side
        (folder / "a.json").write_text(json.dumps(said))
    (folder / "tiny.py").write_text(TEXT.format(corpus=str(folder / name)))
    assert message in one_line(*harness("run", "tiny.py"))
    assert untouched(folder)


@pytest.mark.parametrize("sent", [CONTENT[:-1], CONTENT[:-1] + b"x", b""])
def test_a_checksum_that_fails_is_one_line_and_leaves_nothing(
    folder, harness, server, monkeypatch, sent
):
    offer(server, monkeypatch, sent, sha256=hashlib.sha256(CONTENT).hexdigest())
    code, out, err = harness("data", "fetch", "toy")
    # What a progress bar has drawn stands before the one line.
    *_, last = err.splitlines()
    assert code == 2 and last.startswith("error: file.bin could not be fetched")
    assert "sha256 is not the expected one" in last and "Traceback" not in err
    assert not in_cache(files.cache_folder()) and not fetch.present()
    code, out, _ = harness("data", "list", "--json")
    assert not any(row["folder"] for row in json.loads(out))


def test_only_the_right_images_can_be_imported(folder, harness, monkeypatch):
    write_mnist(folder / "set")
    known = NamedImages(
        summary="", files=(), shape=(6, 5, 1, 4), train=12, test=4, digest="another"
    )
    monkeypatch.setitem(CATALOG, "mnist", known)
    wrong = one_line(*harness("data", "import", "images", "mnist", folder / "set"))
    assert "are not those of mnist" in wrong and not fetch.present()
    digest = wrong.split("their hash is ")[1].split(",")[0]
    monkeypatch.setitem(CATALOG, "mnist", dataclasses.replace(known, digest=digest))
    code, out, _ = harness("data", "import", "images", "mnist", folder / "set")
    assert code == 0 and str(fetch.present()["mnist"]) in out
    assert not (files.cache_folder() / "partial").exists()
    write_sweep(folder, "mnist", "height=6, width=5, classes=4")
    assert harness("plan", "tiny.py")[0] == 0


def test_what_is_trained_on_known_data_can_be_planned_and_read_without_them(
    folder, harness, monkeypatch
):
    write_mnist(folder / "set")
    here = resolve(spec_of(folder / "set"))
    known = NamedImages(
        summary="",
        files=(),
        shape=(6, 5, 1, 4),
        train=here.unique,
        test=here.eval_examples,
        digest=here.digest,
    )
    monkeypatch.setitem(CATALOG, "mnist", known)
    harness("data", "import", "images", "mnist", folder / "set")
    write_sweep(folder, "mnist", "height=6, width=5, classes=4")
    assert harness("run", "tiny.py", "--no-report")[0] == 0
    shutil.rmtree(files.cache_folder() / "mnist")
    assert harness("plan", "tiny.py")[0] == 0
    code, out, _ = harness("run", "tiny.py", "--no-report")
    assert code == 0 and "all 1 runs are finished: nothing to train" in out
    more = "--set", "optimizer.lr=0.5"
    data_command = "data", "import", "images", "mnist", folder / "set"
    harness(*data_command)
    assert harness("run", "tiny.py", *more, "--workers", "0")[0] == 0
    shutil.rmtree(files.cache_folder() / "mnist")
    for command in (
        ("run", "tiny.py", *more),
        ("plan", "tiny.py", *more, "--probe"),
        ("work", "results/tiny"),
    ):
        found = one_line(*harness(*command))
        assert "mnist is not on this machine: get it with `harness data" in found


def test_a_source_of_ones_own_stands_in_the_experiment_file(folder, harness):
    (folder / "own.py").write_text(OWN_SOURCE)
    code, out, err = harness("run", "own.py", "--no-report")
    assert code == 0, err
    code, out, _ = harness("run", "own.py", "--no-report")
    assert code == 0 and "all 1 runs are finished: nothing to train" in out


def test_text_is_imported_and_can_be_planned(folder, harness):
    pytest.importorskip("tokenizers")
    (folder / "a.txt").write_text("the ship and the sea\n" * 400)
    code, out, _ = harness(
        "data", "import", "text", "a.txt", "--out", "t", "--vocab", 260
    )
    assert code == 0 and "vocab=260" in out and (folder / "t" / "train.bin").exists()
    assert "is empty" in one_line(
        *harness("data", "import", "text", "/dev/null", "--out", "t2")
    )


def test_experiments_in_folders_are_found_by_name(folder, harness):
    write_mnist(folder / "set")
    inner = folder / "experiments" / "classics"
    inner.mkdir(parents=True)
    write_sweep(inner, folder / "set", name="digits")
    for name in ("digits", "classics/digits", "experiments/classics/digits.py"):
        assert harness("plan", name)[0] == 0
    assert "experiments/ has classics/digits" in one_line(*harness("plan", "digit"))
    (folder / "experiments" / "other").mkdir()
    write_sweep(folder / "experiments" / "other", folder / "set", name="digits")
    assert "name one" in one_line(*harness("plan", "digits"))


def used(out):
    """The data source that an import names, as a sweep file would have it."""
    assert out.startswith("use: ")
    return resolve(eval(out.removeprefix("use: "), {"Images": Images, "Table": Table}))


def test_an_import_from_the_hub_says_what_to_install(folder, harness, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(hub, "import_module", missing)
    found = one_line(*harness("data", "import", "hf", "mnist", "--out", "o"))
    assert "pip install 'scaling-harness[hf]'" in found


def test_folders_of_tables_and_texts_are_imported(folder, harness):
    pytest.importorskip("datasets")
    for name in ("toy", "texts"):
        (folder / name).mkdir()
    for split, n in (("train", 8), ("test", 4)):
        columns = {"a": np.arange(n) / 7, "b": np.ones(n), "y": np.arange(n) % 2}
        pd.DataFrame(columns).to_parquet(folder / "toy" / f"{split}.parquet")
    code, out, _ = harness("data", "import", "hf", "toy", "--out=o", "--target=y")
    spec = used(out)
    assert code == 0 and (spec.unique, spec.eval_examples, spec.outputs) == (8, 4, 2)
    lines = [json.dumps({"text": f"line {i} of a text"}) for i in range(40)]
    (folder / "texts" / "train.jsonl").write_text("\n".join(lines))
    code, out, _ = harness("data", "import", "hf", "texts", "--out=t")
    assert code == 0 and "Text(corpus='t/train.txt')" in out
    missing = one_line(*harness("data", "import", "hf", "./none", "--out=n"))
    assert "datasets cannot load './none'" in missing


def test_folders_of_images_are_imported(folder, harness):
    pytest.importorskip("datasets")
    pillow = pytest.importorskip("PIL.Image")
    for place in ("train/cat", "train/dog", "test/cat"):
        (folder / "set" / place).mkdir(parents=True)
        for i in range(3):
            pillow.fromarray(PIXELS[i]).save(folder / "set" / place / f"{i}.png")
    code, out, _ = harness("data", "import", "hf", "set", "--out", "o")
    spec = used(out)
    assert code == 0 and (spec.height, spec.width, spec.channels) == (5, 4, 1)
    sums = load(spec, 0).train["x"].sum(axis=(1, 2, 3))
    assert sorted(sums) == sorted([*PIXELS[:3].sum(axis=(1, 2))] * 2)
