"""Varied training images, on the device: pure functions of a random key.

The only file of this folder that imports jax; `read.load` imports it for training.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from harness.data.images.spec import Images

Batch = tuple[jax.Array, jax.Array]


def augmentation(spec: Images) -> Callable[[jax.Array, jax.Array, jax.Array], Batch]:
    """The function `(key, inputs, targets) -> (inputs, targets)` that `spec` asks for.

    Inputs are images (B, H, W, C), targets labels (B,); with mixup the targets come
    back as probabilities (B, classes).
    """
    classes = spec.shape.outputs

    def augment(key: jax.Array, inputs: jax.Array, targets: jax.Array) -> Batch:
        keys = jax.random.split(key, 4)
        x = inputs
        if margin := spec.crop or spec.shift:
            x = moved(keys[0], x, margin, "constant" if spec.crop else "edge")
        if spec.flip:
            x = flipped(keys[1], x)
        if spec.cutout:
            x = cut_out(keys[2], x, spec.cutout)
        if spec.mixup:
            x, targets = mixed(keys[3], x, jax.nn.one_hot(targets, classes), spec.mixup)
        return x, targets

    return augment


def moved(key: jax.Array, x: jax.Array, margin: int, fill: str) -> jax.Array:
    """Each image moved by up to `margin` pixels either way, filled up by `fill`."""
    B, H, W, C = x.shape
    around = ((0, 0), (margin, margin), (margin, margin), (0, 0))
    padded = jnp.pad(x, around, mode=fill)
    corners = jax.random.randint(key, (B, 2), 0, 2 * margin + 1)

    def window(image: jax.Array, corner: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (H, W, C))

    return jax.vmap(window)(padded, corners)


def flipped(key: jax.Array, x: jax.Array) -> jax.Array:
    """Each image mirrored left to right with probability 1/2."""
    mirror = jax.random.bernoulli(key, shape=(len(x), 1, 1, 1))
    return jnp.where(mirror, x[:, :, ::-1], x)


def cut_out(key: jax.Array, x: jax.Array, side: int) -> jax.Array:
    """Each image with a black square around a random pixel, cut off at the border."""
    B, H, W, _ = x.shape
    centre = jax.random.uniform(key, (B, 2)) * jnp.array([H, W])
    low = jnp.floor(centre).astype(int) - side // 2
    row = jnp.arange(H) - low[:, :1]
    column = jnp.arange(W) - low[:, 1:]
    inside_BH = (row >= 0) & (row < side)
    inside_BW = (column >= 0) & (column < side)
    hole = inside_BH[:, :, None] & inside_BW[:, None, :]
    return jnp.where(hole[..., None], 0.0, x)


def mixed(key: jax.Array, x: jax.Array, targets: jax.Array, alpha: float) -> Batch:
    """Each image and target mixed with another's; one Beta(alpha, alpha) share a batch.

    Zhang et al. 2018, arXiv:1710.09412.
    """
    share_key, partner_key = jax.random.split(key)
    share = jax.random.beta(share_key, alpha, alpha)
    partner = jax.random.permutation(partner_key, len(x))
    return (
        share * x + (1 - share) * x[partner],
        share * targets + (1 - share) * targets[partner],
    )
