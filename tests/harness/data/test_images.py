"""Image files are read exactly, and bad ones are refused in one line that helps."""

import gzip
import pickle
import struct

import numpy as np
import pytest

from harness import Images
from harness.data.dataset import load
from harness.data.images import read as images
from harness.errors import DataError, SpecError
from harness.specs.reading import resolve


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def pictures(n, height=6, width=5, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width), np.uint8)


def write_mnist(folder, *, zipped=False, train=40, test=20):
    """A small data set in MNIST's files; labels run through 0 … 3."""
    folder.mkdir(exist_ok=True)
    parts = {}
    for prefix, n, seed in (("train", train, 1), ("t10k", test, 2)):
        x, y = pictures(n, seed=seed), np.arange(n) % 4
        parts[prefix] = x, y
        for name, array in (("images-idx3-ubyte", x), ("labels-idx1-ubyte", y)):
            raw = idx(array)
            suffix = ".gz" if zipped else ""
            file = folder / f"{prefix}-{name}{suffix}"
            file.write_bytes(gzip.compress(raw) if zipped else raw)
    return parts


def spec_of(folder, **changes):
    shape = {"height": 6, "width": 5, "channels": 1, "classes": 4} | changes
    return Images(data=str(folder), **shape)


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_files_hold_what_was_written(tmp_path, zipped):
    parts = write_mnist(tmp_path / "set", zipped=zipped)
    spec = resolve(spec_of(tmp_path / "set"))
    dataset = load(spec, 0)
    assert dataset.train["x"].dtype == np.uint8
    x, y = dataset.gather(dataset.train, np.array([3, 0]))
    np.testing.assert_allclose(x[..., 0] * 255, parts["train"][0][[3, 0]], rtol=1e-6)
    assert y.tolist() == [3, 0]
    held, _ = dataset.gather(dataset.held_out, dataset.eval_offsets)
    np.testing.assert_allclose(held[..., 0] * 255, parts["t10k"][0], rtol=1e-6)
    assert spec.unique == 40 and spec.eval_examples == 20


def test_the_same_images_have_the_same_identity_wherever_they_lie(tmp_path):
    write_mnist(tmp_path / "a")
    write_mnist(tmp_path / "b", zipped=True)
    a, b = (resolve(spec_of(tmp_path / name)) for name in "ab")
    assert a.identity() == b.identity()
    (tmp_path / "b" / "t10k-labels-idx1-ubyte.gz").write_bytes(
        gzip.compress(idx(np.zeros(20)))
    )
    assert resolve(spec_of(tmp_path / "b")).digest != a.digest


def write_cifar(folder, form, n=4):
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (n, 3072), np.uint8)
    labels = np.arange(n, dtype=np.uint8) % 10
    for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"):
        if form == "bin":
            records = np.concatenate([labels[:, None], pixels], axis=1)
            (folder / f"{name}.bin").write_bytes(records.tobytes())
        else:
            batch = {b"data": pixels, b"labels": labels.tolist()}
            (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    return pixels, labels


CIFAR = {"height": 32, "width": 32, "channels": 3, "classes": 10}


@pytest.mark.parametrize("form", ["bin", "pickled"])
def test_cifar_batches_are_read_channel_by_channel(tmp_path, form):
    pixels, labels = write_cifar(tmp_path / "cifar", form)
    train, test = images.read(spec_of(tmp_path / "cifar", **CIFAR))
    assert train.x.shape == (20, 32, 32, 3) and test.x.shape == (4, 32, 32, 3)
    for channel in range(3):
        plane = pixels[:, channel * 1024 : (channel + 1) * 1024].reshape(-1, 32, 32)
        assert np.array_equal(test.x[..., channel], plane)
    assert np.array_equal(train.y, np.tile(labels, 5))


def test_cifar100_takes_the_fine_label(tmp_path):
    pixels = np.zeros((3, 3072), np.uint8)
    for name in ("train", "test"):
        labels = np.array([[1, 7], [2, 8], [3, 99]], np.uint8)
        (tmp_path / f"{name}.bin").write_bytes(
            np.concatenate([labels, pixels], axis=1).tobytes()
        )
    train, _ = images.read(spec_of(tmp_path, **CIFAR | {"classes": 100}))
    assert train.y.tolist() == [7, 8, 99]


class Harmful:
    def __reduce__(self):
        return print, ("this must not run",)


def test_a_pickle_that_would_run_code_is_refused(tmp_path, capsys):
    write_cifar(tmp_path / "cifar", "pickled")
    (tmp_path / "cifar" / "data_batch_3").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(DataError, match=r"data_batch_3 is not a CIFAR batch .*print"):
        images.read(spec_of(tmp_path / "cifar", **CIFAR))
    assert capsys.readouterr().out == ""


class Rebuilt:
    """A pickled array of one image whose type and state are chosen freely."""

    def __init__(self, dtype, shape, raw):
        self.state = (1, shape, dtype, False, raw)

    def __reduce__(self):
        start = np._core.multiarray._reconstruct
        return start, (np.ndarray, (0,), b"b"), self.state


class Disguised:
    """The type of bytes by name, of objects by its state."""

    def __reduce__(self):
        return np.dtype, ("u1", False, True), (3, "|", None, None, None, 8, 1, 63)


def with_data(folder, data):
    """CIFAR batches, the third of which holds these data."""
    write_cifar(folder, "pickled")
    batch = {b"data": data, b"labels": [0]}
    (folder / "data_batch_3").write_bytes(pickle.dumps(batch))
    return spec_of(folder, **CIFAR)


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [(np.dtype(object), (1, 3072)), (np.dtype("u1"), (3072,)), ("u1", (1, 3072))],
    ids=["objects", "no rows", "no type"],
)
def test_a_pickled_array_that_is_not_rows_of_bytes_is_refused(tmp_path, dtype, shape):
    spec = with_data(tmp_path / "cifar", Rebuilt(dtype, shape, bytes(3072)))
    with pytest.raises(DataError, match="data_batch_3 is not a CIFAR batch"):
        images.read(spec)


def test_bytes_of_a_pickle_never_become_addresses(tmp_path):
    """With numpy's own types these eight-byte groups would be pointers to objects."""
    raw = bytes(range(256)) * 12
    spec = with_data(tmp_path / "cifar", Rebuilt(Disguised(), (1, 3072), raw))
    train, _ = images.read(spec)
    assert train.x.dtype == np.uint8
    assert train.x[8, 0, :4, 0].tolist() == [0, 1, 2, 3]


def npz(file, **arrays):
    np.savez(file, **arrays)
    return file


def small(n=8, **changes):
    arrays = {"x": pictures(n), "y": np.arange(n) % 4}
    return arrays | {f"{k}_test": v for k, v in arrays.items()} | changes


def test_npz_images_with_and_without_channels(tmp_path):
    grey = npz(tmp_path / "grey.npz", **small())
    assert images.read(spec_of(grey))[0].x.shape == (8, 6, 5, 1)
    x = np.zeros((8, 6, 5, 3), np.uint8)
    colour = npz(tmp_path / "colour.npz", **small(x=x, x_test=x))
    assert images.read(spec_of(colour, channels=3))[1].x.shape == (8, 6, 5, 3)


def cut(file, n=3):
    file.write_bytes(file.read_bytes()[:-n])


def damage_magic(folder):
    file = folder / "train-images-idx3-ubyte"
    file.write_bytes(b"\x89PNG" + file.read_bytes()[4:])


BAD_FOLDERS = {
    "truncated images": (
        lambda d: cut(d / "train-images-idx3-ubyte"),
        r"train-images-idx3-ubyte is truncated .* 40×6×5 values .* again",
    ),
    "truncated labels": (
        lambda d: cut(d / "t10k-labels-idx1-ubyte"),
        r"t10k-labels-idx1-ubyte is truncated",
    ),
    "header alone": (
        lambda d: (d / "t10k-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03\0\0"),
        r"t10k-images-idx3-ubyte is truncated",
    ),
    "wrong magic": (damage_magic, r"train-images-idx3-ubyte starts with 89504e47"),
    "images as labels": (
        lambda d: (d / "t10k-labels-idx1-ubyte").write_bytes(idx(pictures(20))),
        r"t10k-labels-idx1-ubyte starts with 00000803, not 00000801",
    ),
    "label out of range": (
        lambda d: (d / "train-labels-idx1-ubyte").write_bytes(idx(np.full(40, 4))),
        r"train-labels-idx1-ubyte holds label 4, but labels lie in \[0, 4\); set",
    ),
    "images of unequal size": (
        lambda d: (d / "t10k-images-idx3-ubyte").write_bytes(idx(pictures(20, 7, 5))),
        r"holds images of 7×5×1, but .* are 6×5×1; set them",
    ),
    "labels missing": (
        lambda d: (d / "train-labels-idx1-ubyte").unlink(),
        r"lacks the train labels",
    ),
    "more labels than images": (
        lambda d: (d / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(41))),
        r"train-labels-idx1-ubyte has 41 labels for 40 images",
    ),
    "no test files": (
        lambda d: [f.unlink() for f in d.glob("t10k*")],
        r"has no test files",
    ),
}


@pytest.mark.parametrize("name", BAD_FOLDERS)
def test_bad_idx_folders_say_what_is_wrong(tmp_path, name):
    damage, message = BAD_FOLDERS[name]
    write_mnist(tmp_path / "set")
    damage(tmp_path / "set")
    with pytest.raises(DataError, match=message) as caught:
        resolve(spec_of(tmp_path / "set"))
    assert "\n" not in str(caught.value)


def test_a_truncated_gz_file_is_named(tmp_path):
    write_mnist(tmp_path / "set", zipped=True)
    cut(tmp_path / "set" / "train-images-idx3-ubyte.gz", 20)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz cannot be read"):
        resolve(spec_of(tmp_path / "set"))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda f: f.write_bytes(b"PK\x03\x04 torn"), "not a readable .npz"),
        (
            lambda f: npz(f, **small(x=np.array([[1], [2, 3]], object))),
            "images and rows must all have one size",
        ),
        (lambda f: npz(f, x=pictures(4)), "lacks the array 'y'; it holds x"),
        (lambda f: npz(f, **small(x=np.zeros((8, 6, 5)))), "float64 .* uint8"),
        (lambda f: npz(f, **small(y=np.zeros(8))), "labels are whole numbers"),
        (lambda f: npz(f, **small(y=np.arange(8) - 1)), "label 6"),
        (lambda f: npz(f, x=pictures(4), y=np.arange(4)), "has no test examples"),
    ],
)
def test_bad_npz_files_say_what_is_wrong(tmp_path, write, message):
    write(tmp_path / "bad.npz")
    with pytest.raises(DataError, match=message) as caught:
        resolve(spec_of(tmp_path / "bad.npz"))
    assert "bad.npz" in str(caught.value) and "\n" not in str(caught.value)


def test_a_named_set_that_is_absent_says_how_to_get_it():
    with pytest.raises(DataError, match="`harness data fetch cifar10`"):
        resolve(Images(data="cifar10"))


def test_a_cut_binary_batch_is_named(tmp_path):
    write_cifar(tmp_path / "cifar", "bin")
    cut(tmp_path / "cifar" / "data_batch_2.bin")
    with pytest.raises(DataError, match=r"data_batch_2.bin is truncated"):
        images.read(spec_of(tmp_path / "cifar", **CIFAR))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unique_examples": 41}, "41 were asked for but .* has 40 training"),
        ({"eval_examples": 21}, "21 were asked for but .* has 20"),
        ({"validation_examples": 40}, "leave nothing of 40"),
        ({"digest": "0" * 16}, "has changed since its hash was"),
    ],
)
def test_more_than_there_is_names_both_numbers(tmp_path, changes, message):
    write_mnist(tmp_path / "set")
    with pytest.raises(DataError, match=message):
        resolve(spec_of(tmp_path / "set", **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"height": None}, "give height, width"),
        ({"evaluate": "validation"}, "needs validation_examples"),
        ({"crop": 2, "shift": 2}, "set one of them to 0"),
        ({"cutout": 6}, "must not exceed the image, 6×5"),
        ({"mixup": -1.0}, "at least 0"),
    ],
)
def test_image_specs_that_make_no_sense(changes, message):
    with pytest.raises(SpecError, match=message):
        spec_of("somewhere", **changes)


def chosen(folder, seed=0, **changes):
    dataset = load(resolve(spec_of(folder, **changes)), seed)
    examples = dataset.examples
    whole = range(examples) if isinstance(examples, int) else examples.tolist()
    return set(whole), dataset


def test_subsets_are_exact_nested_and_balanced(tmp_path):
    write_mnist(tmp_path / "set")
    sets = []
    for n in (6, 8, 21, 40):
        found, dataset = chosen(tmp_path / "set", seed=3, unique_examples=n)
        assert len(found) == n
        per_class = np.bincount(dataset.train["y"][sorted(found)], minlength=4)
        assert per_class.max() - per_class.min() <= 1
        order = dataset.order(9, 2, 0, n // 2)
        assert set(order.ravel().tolist()) <= found
        sets.append(found)
    assert sets[0] < sets[1] < sets[2] < sets[3]
    assert chosen(tmp_path / "set", seed=4, unique_examples=6)[0] != sets[0]


def test_validation_examples_are_fixed_balanced_and_never_trained_on(tmp_path):
    parts = write_mnist(tmp_path / "set")
    keys = {"validation_examples": 8, "evaluate": "validation"}
    held = []
    for seed in (0, 1):
        found, dataset = chosen(tmp_path / "set", seed=seed, **keys)
        assert len(found) == 32
        left = sorted(set(range(40)) - found)
        x, y = dataset.gather(dataset.held_out, dataset.eval_offsets)
        expected = parts["train"][0][left]
        np.testing.assert_allclose(x[..., 0] * 255, expected, rtol=1e-6)
        assert np.bincount(y).tolist() == [2, 2, 2, 2]
        held.append(left)
    assert held[0] == held[1]
    assert chosen(tmp_path / "set", validation_examples=8)[0] == found
