"""Augmentation moves pixels as it says, mixes labels with images, and is seeded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harness import Images
from harness.data.images.augment import augmentation

SHAPE = {"height": 8, "width": 6, "channels": 2, "classes": 3}
B = 64


def varied(key=0, **options):
    """(images before, after, targets after); no pixel is black before."""
    x = jax.random.uniform(jax.random.key(99), (B, 8, 6, 2), minval=0.1)
    y = jnp.arange(B) % 3
    augment = jax.jit(augmentation(Images(data="x", **SHAPE, **options)))
    after, targets = augment(jax.random.key(key), x, y)
    assert after.shape == x.shape
    return np.asarray(x), np.asarray(after), np.asarray(targets)


def shifted(image, dy, dx, mode):
    around = ((2, 2), (2, 2), (0, 0))
    padded = np.pad(image, around, mode=mode)
    return padded[2 + dy : 10 + dy, 2 + dx : 8 + dx]


@pytest.mark.parametrize(("option", "mode"), [("crop", "constant"), ("shift", "edge")])
def test_images_are_moved_by_at_most_the_margin(option, mode):
    before, after, targets = varied(**{option: 2})
    moves = set()
    for one, other in zip(before, after, strict=True):
        found = [
            (dy, dx)
            for dy in range(-2, 3)
            for dx in range(-2, 3)
            if np.array_equal(shifted(one, dy, dx, mode), other)
        ]
        assert found
        moves.add(found[0])
    assert len(moves) > 15  # of 25, in 64 draws
    assert targets.tolist() == [k % 3 for k in range(B)]


def test_about_half_of_the_images_are_mirrored():
    before, after, _ = varied(flip=True)
    same = [np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
    mirrored = [
        np.array_equal(a[:, ::-1], b) for a, b in zip(before, after, strict=True)
    ]
    assert all(a != b for a, b in zip(same, mirrored, strict=True))
    assert 16 < sum(mirrored) < 48


def test_cutout_blacks_out_one_square():
    before, after, _ = varied(cutout=3)
    for one, other in zip(before, after, strict=True):
        hole = (other == 0).all(axis=-1)
        rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
        assert 1 <= len(rows) <= 3 and 1 <= len(columns) <= 3
        assert hole.sum() == len(rows) * len(columns)
        assert np.array_equal(one[~hole], other[~hole])
    whole = [(b == 0).all(axis=-1).sum() == 9 for b in after]
    assert sum(whole) > B // 4


def test_mixup_mixes_targets_as_it_mixes_images():
    before, after, targets = varied(mixup=1.0)
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)
    labels = np.eye(3)[np.arange(B) % 3]
    share = targets[(targets > 0) & (targets < 0.999)].max()
    for i in range(B):
        fits = [
            j
            for j in range(B)
            for s in (share, 1 - share)
            if np.allclose(s * before[i] + (1 - s) * before[j], after[i], atol=1e-5)
            and np.allclose(s * labels[i] + (1 - s) * labels[j], targets[i], atol=1e-5)
        ]
        assert fits


def test_keys_decide_and_no_option_means_no_change():
    _, one, _ = varied(key=1, crop=2)
    assert np.array_equal(one, varied(key=1, crop=2)[1])
    assert not np.array_equal(one, varied(key=2, crop=2)[1])
    before, after, _ = varied()
    assert np.array_equal(before, after)
