"""Hugging Face data sets become files that sweeps read; what cannot says why."""

import numpy as np
import pytest

from harness import Images, Table, Text
from harness.data.dataset import load
from harness.data.download import hub
from harness.errors import DataError
from harness.specs.reading import resolve


class Split(dict):
    """Stands in for a split: columns by name, their types in `features`."""

    def __init__(self, features, **columns):
        super().__init__(columns)
        self.features = features

    def __len__(self):
        return len(next(iter(self.values())))


class Image:
    """A column's type, known by its name."""


class ClassLabel:
    dtype, num_classes = "int64", 4


class Value:
    def __init__(self, dtype):
        self.dtype = dtype


PIXELS = np.arange(6 * 5 * 4, dtype=np.uint8).reshape(6, 5, 4)
PICTURES = {"img": Image(), "label": ClassLabel()}
NUMBERS = {"a": Value("float32"), "b": Value("float32"), "y": Value("float64")}


def pictures(n=6, **changes):
    return Split(
        PICTURES, **{"img": list(PIXELS[:n]), "label": [0, 1, 2] * 2, **changes}
    )


@pytest.fixture
def offered(monkeypatch):
    """Puts splits in the place of a data set."""

    def offer(**splits):
        class Stand:
            @staticmethod
            def load_dataset(name, config):
                return splits

        monkeypatch.setattr(hub, "import_module", lambda _: Stand)

    return offer


def brought(tmp_path, **options):
    """The data source that the importer names, evaluated as a sweep file would."""
    said = hub.import_hf(hub.Selection(name="toy", **options), tmp_path / "out")
    source = eval(said, {"Images": Images, "Table": Table, "Text": Text})
    return resolve(source)


def test_images_keep_every_pixel_and_label(offered, tmp_path):
    offered(train=pictures(), test=pictures(label=[3] * 6))
    spec = brought(tmp_path)
    assert spec.classes == 4 and spec.unique == 6
    dataset = load(spec, 0)
    assert np.array_equal(dataset.train["x"][..., 0], PIXELS)
    assert dataset.train["y"].tolist() == [0, 1, 2] * 2
    assert dataset.held_out["y"].tolist() == [3] * 6


def test_numbers_become_a_table(offered, tmp_path):
    rows = {"a": [1.0, 2.0, 3.0], "b": [4.0, 5.0, 6.0], "y": [0.5, 1.5, 2.5]}
    offered(train=Split(NUMBERS, **rows), validation=Split(NUMBERS, **rows))
    spec = brought(tmp_path, target="y")
    assert (spec.inputs, spec.outputs, spec.target) == (2, 1, "real")
    assert load(spec, 0).held_out["y"].tolist() == [[0.5], [1.5], [2.5]]


def test_lists_of_numbers_become_sequences(offered, tmp_path):
    features = {"wave": object(), "label": ClassLabel()}
    wave = np.arange(24.0).reshape(4, 3, 2).tolist()
    split = Split(features, wave=wave, label=[0, 1, 0, 1])
    offered(train=split, test=split)
    spec = brought(tmp_path, inputs="wave")
    assert (spec.length, spec.inputs, spec.outputs) == (3, 2, 4)


def test_texts_become_documents(offered, tmp_path):
    features = {"text": Value("string"), "id": Value("int64")}
    texts = ["it is a truth\n" * 40, "universally\n" * 40]
    offered(train=Split(features, text=texts, id=[0, 1]))
    spec = hub.import_hf(hub.Selection(name="toy"), tmp_path)
    assert spec == f"Text(corpus='{tmp_path}/train.txt')"
    assert (tmp_path / "train.txt").read_text() == "\n\0\n".join(texts)


RAGGED = [PIXELS[0], PIXELS[1][:3], *PIXELS[2:]]
BAD = {
    "a split that is not there": ({}, {"train": "all"}, "has no split 'all'; it has"),
    "a column that is not there": ({}, {"inputs": "pic"}, "no column 'pic'; it has"),
    "images of two sizes": ({"img": RAGGED}, {}, r"unequal size, such as \(3, 4\)"),
    "images of floats": ({"img": list(PIXELS / 2)}, {}, "not 8-bit grey or colour"),
    "labels that are text": ({"label": ["a"] * 6}, {}, "does not hold numbers"),
    "labels that are not whole": ({"label": [0.5] * 6}, {}, "not hold class labels"),
    "nothing": ({"img": [], "label": []}, {}, "'train' of toy is empty"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_imported_says_why_and_leaves_nothing(offered, tmp_path, name):
    changes, options, message = BAD[name]
    offered(train=pictures(**changes))
    with pytest.raises(DataError, match=message) as caught:
        brought(tmp_path, **options)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.*"))


def test_two_columns_of_one_type_must_be_named(offered, tmp_path):
    features = {"one": Value("string"), "two": Value("string")}
    offered(train=Split(features, one=["a"], two=["b"]))
    with pytest.raises(DataError, match=r"2 columns .* --inputs .*one, two"):
        brought(tmp_path)
