"""Tables and sequences: files become arrays exactly; bad files are refused."""

import numpy as np
import pandas as pd
import pytest

from harness import Table
from harness.data.dataset import load
from harness.errors import DataError, SpecError
from harness.specs.reading import resolve


def rows(n=30, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal([1, -2, 5], [3, 1, 0.1], (n, 3))
    return {"x": x, "y": np.arange(n) % 2}


def both(**changes):
    arrays = rows()
    test = {f"{k}_test": v for k, v in rows(10, 1).items()}
    return arrays | test | changes


def saved(folder, **arrays):
    np.savez(folder / "t.npz", **arrays)
    return str(folder / "t.npz")


def spec_of(file, **changes):
    return Table(data=file, **{"inputs": 3, "outputs": 2} | changes)


def test_features_are_standardised_by_the_training_examples(tmp_path):
    dataset = load(resolve(spec_of(saved(tmp_path, **both()))), 0)
    x, y = dataset.gather(dataset.train, np.arange(30))
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(axis=0), 1, rtol=1e-5)
    assert y.tolist() == [0, 1] * 15
    train, test = rows()["x"], rows(10, 1)["x"]
    expected = (test - train.mean(axis=0)) / train.std(axis=0)
    np.testing.assert_allclose(dataset.held_out["x"], expected, atol=1e-4)


def test_a_constant_feature_does_not_become_nan(tmp_path):
    arrays = both()
    arrays["x"][:, 1] = arrays["x_test"][:, 1] = 7.0
    dataset = load(resolve(spec_of(saved(tmp_path, **arrays))), 0)
    assert not dataset.train["x"][:, 1].any()


def test_parquet_columns_are_features_and_label(tmp_path):
    for name, n, seed in (("train", 30, 0), ("test", 10, 1)):
        x = rows(n, seed)["x"]
        frame = pd.DataFrame({"a": x[:, 0], "kind": np.arange(n) % 2, "b": x[:, 1]})
        frame.to_parquet(tmp_path / f"{name}.parquet")
    spec = spec_of(
        str(tmp_path / "train.parquet"),
        test=str(tmp_path / "test.parquet"),
        label="kind",
        inputs=2,
        standardize=False,
    )
    dataset = load(resolve(spec), 0)
    np.testing.assert_allclose(dataset.train["x"], rows()["x"][:, :2], rtol=1e-6)
    assert dataset.train["y"].tolist() == [0, 1] * 15
    assert len(dataset.held_out["y"]) == 10


def test_real_targets_and_sequences(tmp_path):
    x = np.random.default_rng(0).normal(size=(12, 5, 3))
    file = saved(tmp_path, x=x, y=x.sum(axis=(1, 2)))
    spec = spec_of(
        file,
        length=5,
        outputs=1,
        target="real",
        evaluate="validation",
        validation_examples=4,
        standardize=False,
    )
    assert spec.shape.kind == "sequences" and spec.shape.target == "real"
    spec = resolve(spec)
    dataset = load(spec, 0)
    x_out, y_out = dataset.gather(dataset.train, dataset.order(0, 8, 0, 1)[0])
    assert x_out.shape == (8, 5, 3) and spec.unique == 8
    np.testing.assert_allclose(x_out.sum(axis=(1, 2)), y_out[:, 0], rtol=1e-4)


def test_sequences_of_tokens_keep_their_ids(tmp_path):
    x = np.random.default_rng(0).integers(0, 9, (20, 6))
    file = saved(tmp_path, x=x, y=np.arange(20) % 3, x_test=x, y_test=np.arange(20) % 3)
    spec = spec_of(file, inputs=9, outputs=3, length=6, tokens=True, standardize=False)
    assert spec.shape.kind == "tokens" and spec.shape.target == "class"
    dataset = load(resolve(spec), 0)
    assert np.array_equal(dataset.train["x"], x)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"y": np.arange(30)}, {}, r"holds label 29, but labels lie in \[0, 2\)"),
        ({"y": np.full(30, -1)}, {}, r"holds label -1"),
        ({"x": rows()["x"][:20]}, {}, r"shape \(20, 3\) and 30 targets"),
        ({}, {"inputs": 4}, r"the spec says \(n, 4\); set inputs"),
        ({"x": np.full((30, 3), np.nan)}, {}, "not finite numbers"),
        ({"y": np.zeros((30, 4))}, {"target": "real"}, "set outputs to the number"),
        (
            {"x": np.arange(90).reshape(30, 3)},
            {"tokens": True, "length": 3, "inputs": 9, "standardize": False},
            r"holds token 89, but ids lie in \[0, 9\)",
        ),
    ],
)
def test_bad_tables_say_what_is_wrong(tmp_path, changes, options, message):
    file = saved(tmp_path, **both(**changes))
    with pytest.raises(DataError, match=message) as caught:
        resolve(spec_of(file, **options))
    assert "t.npz" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        ({"a": [1.0], "y": [0]}, {}, "label='…'"),
        ({"a": [1.0], "y": [0]}, {"label": "z"}, "no column 'z'; it has a, y"),
        ({"a": ["x"], "y": [0]}, {"label": "y"}, "column 'a' does not hold numbers"),
    ],
)
def test_bad_parquet_files_say_what_is_wrong(tmp_path, frame, options, message):
    pd.DataFrame(frame).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=message):
        resolve(spec_of(str(tmp_path / "t.parquet"), **options))


def test_a_cut_parquet_file_is_named(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(DataError, match=r"t.parquet is not a readable parquet"):
        resolve(spec_of(str(tmp_path / "t.parquet"), label="y"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"outputs": 1}, "at least 2"),
        ({"tokens": True}, "standardize=False"),
        ({"evaluate": "validation"}, "needs validation_examples"),
    ],
)
def test_table_specs_that_make_no_sense(options, message):
    with pytest.raises(SpecError, match=message):
        spec_of("t.npz", **options)
