"""Batches are a pure function of (seed, step); corpora are exact and checked."""

import dataclasses
import lzma
from importlib import resources

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import TeacherStudent, Text
from harness.data.dataset import load
from harness.data.order import epoch_order
from harness.errors import DataError
from harness.specs.reading import resolve


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**62), st.integers(1, 3000), st.integers(0, 5))
def test_every_epoch_is_a_permutation(seed, n, epoch):
    order = epoch_order(seed, n, np.arange(epoch * n, (epoch + 1) * n))
    assert np.array_equal(np.sort(order), np.arange(n))


def test_order_is_the_same_for_ever():
    """Golden values: a change here would change every run in every store."""
    assert epoch_order(0, 1000, np.arange(8)).tolist() == [
        288, 570, 963, 825, 872, 934, 927, 102,
    ]  # fmt: skip


def test_epochs_and_seeds_differ_and_look_uniform():
    n = 4096
    first, second, other = (
        epoch_order(seed, n, np.arange(lo, lo + n))
        for seed, lo in ((0, 0), (0, n), (1, 0))
    )
    for a, b in ((first, second), (first, other), (first, np.arange(n))):
        assert np.sum(a == b) < 10  # one coincidence is expected of random orders
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.06  # standard error 1 / 64


def test_a_batch_depends_on_seed_and_step_alone():
    dataset = load(resolve(Text(context=64)), 0)
    whole = dataset.order(7, 16, 0, 40)
    assert np.array_equal(dataset.order(7, 16, 13, 20), whole[13:20])
    assert not np.array_equal(dataset.order(8, 16, 0, 40), whole)


def test_austen_is_the_novels_with_persuasion_held_out():
    folder = resources.files("harness.data.text") / "corpora" / "austen"
    texts = {f.name: f for f in folder.iterdir() if f.name.endswith(".xz")}
    assert len(texts) == 6
    held = lzma.decompress(texts.pop("persuasion.txt.xz").read_bytes())
    spec = resolve(Text(context=128, eval_sequences=16))
    dataset = load(spec, 0)
    windows, _ = dataset.gather(dataset.held_out, dataset.eval_offsets)
    assert len(windows) == 16 and windows[0].tobytes() == held[:128]
    assert all(window.tobytes() in held for window in windows)
    total = sum(len(lzma.decompress(f.read_bytes())) for f in texts.values())
    assert len(dataset.train["tokens"]) == total
    assert spec.unique_tokens == (total - 1) // 128 * 128


def test_targets_are_the_next_bytes_and_windows_do_not_overlap():
    dataset = load(resolve(Text(context=32, eval_sequences=4)), 0)
    x, y = dataset.gather(dataset.train, dataset.locate(np.arange(3)))
    text = dataset.train["tokens"]
    assert np.array_equal(x.reshape(-1), text[:96])
    assert np.array_equal(y.reshape(-1), text[1:97])


def test_examples_copied_for_the_device_are_the_examples():
    for spec in (resolve(Text(context=32, eval_sequences=4)), TeacherStudent()):
        dataset = load(spec, 0)
        index = dataset.order(3, 4, 0, 5)
        copied, offsets = dataset.subset(dataset.train, index)
        for a, b in zip(
            dataset.gather(copied, offsets),
            dataset.gather(dataset.train, dataset.locate(index)),
            strict=True,
        ):
            assert np.array_equal(a, b)


def test_subsets_are_nested_and_exact():
    kept = []
    for unique in (3200, 6400, 64000):
        spec = resolve(Text(context=32, eval_sequences=4, unique_tokens=unique))
        order = load(spec, 5).order(0, 10, 0, unique // 320)
        kept.append(set(order.reshape(-1).tolist()))
        assert len(kept[-1]) * 32 == unique
    assert kept[0] < kept[1] < kept[2]


def test_more_unique_data_than_exists_names_both_numbers(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"ab" * 500)
    spec = Text(
        corpus=str(tmp_path / "a.txt"), context=10, unique_tokens=2000, eval_sequences=2
    )
    with pytest.raises(DataError, match=r"2,000 .* 940"):
        resolve(spec)


def test_token_files_of_both_widths(tmp_path):
    values = np.arange(5000) % 700
    np.save(tmp_path / "tokens.npy", values.astype(np.uint16))
    values.astype(np.uint16).tofile(tmp_path / "tokens.bin")
    spec = Text(context=8, vocab=700, eval_sequences=4)
    read = {}
    for suffix in ("npy", "bin"):
        path = str(tmp_path / f"tokens.{suffix}")
        read[suffix] = resolve(dataclasses.replace(spec, corpus=path))
    assert read["npy"].digest == read["bin"].digest
    dataset = load(read["npy"], 0)
    assert np.array_equal(dataset.train["tokens"], values[:4750])
    x, y = dataset.gather(dataset.held_out, dataset.eval_offsets)
    assert np.array_equal(x[0], values[4750:4758])
    assert np.array_equal(y[-1], values[4750 + 241 : 4750 + 249])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda d: Text(corpus=str(d / "none.txt")), "no file matches"),
        (lambda d: Text(corpus=str(d / "empty.txt")), "is empty"),
        (lambda d: Text(corpus=str(d / "short.txt")), "fewer than one window"),
        (lambda d: Text(corpus=str(d / "odd.bin"), vocab=9), "not hold whole uint16"),
        (lambda d: Text(corpus=str(d / "x.csv")), "no reader for '.csv'"),
        (lambda d: Text(corpus=str(d / "torn.npy")), "not a readable .npy"),
        (lambda d: Text(corpus=str(d / "float.npy")), "flat uint8, uint16 or"),
        (lambda d: Text(corpus=str(d / "big.npy"), context=4), "set vocab to at least"),
        (lambda d: Text(eval_sequences=10**6), "eval_sequences 1,000,000"),
        (lambda d: Text(digest="0" * 16), "has changed"),
        (lambda d: Text(corpus=str(d / "one.bin"), vocab=2**16), "fewer than one"),
        (
            lambda d: Text(corpus=str(d / "*.txt"), held_out=str(d / "short.txt")),
            "short.txt is both in the corpus and in held_out",
        ),
    ],
)
def test_bad_corpora_say_what_is_wrong(tmp_path, make, message):
    (tmp_path / "empty.txt").touch()
    (tmp_path / "short.txt").write_text("short")
    (tmp_path / "odd.bin").write_bytes(b"abc")
    (tmp_path / "one.bin").write_bytes(b"ab")
    (tmp_path / "x.csv").write_text("1,2")
    np.save(tmp_path / "float.npy", np.ones(100))
    np.save(tmp_path / "big.npy", np.full(5000, 300, np.uint16))
    (tmp_path / "torn.npy").write_bytes((tmp_path / "big.npy").read_bytes()[:40])
    with pytest.raises(DataError, match=message):
        resolve(make(tmp_path))


def test_teacher_targets_have_unit_variance_and_the_stated_noise():
    quiet, noisy = (
        load(TeacherStudent(unique_examples=20000, noise=noise), 3).train
        for noise in (0.0, 0.5)
    )
    assert np.array_equal(quiet["x"], noisy["x"])
    assert quiet["y"].std() == pytest.approx(1, abs=0.03)
    assert (noisy["y"] - quiet["y"]).std() == pytest.approx(0.5, abs=0.01)


def test_smaller_teacher_sets_lie_inside_larger_ones():
    small, large = (
        load(TeacherStudent(unique_examples=n), 0).train for n in (100, 1000)
    )
    assert np.array_equal(small["x"], large["x"][:100])
    assert np.array_equal(small["y"], large["y"][:100])
