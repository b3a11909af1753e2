"""The types of arrays and trees of arrays in code that uses jax; names of leaves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import jax
import numpy as np
from numpy.typing import NDArray

from harness.errors import StoreError

PyTree: TypeAlias = Any
"""A nest of containers with arrays as leaves; jax has no type that says so."""


def named_arrays(tree: PyTree) -> dict[str, NDArray[np.generic]]:
    """The leaves on the host, by the keys on the way to each: "blocks.0.up.kernel"."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {_name(path): np.asarray(leaf) for path, leaf in leaves}


def tree_of(named: Mapping[str, NDArray[np.generic]], like: PyTree) -> PyTree:
    """The inverse of `named_arrays`, for a tree of the structure and shapes of `like`.

    Raises `StoreError` if names, shapes or types are others.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    expected = {_name(path): (leaf.shape, leaf.dtype) for path, leaf in leaves}
    present = {name: (array.shape, array.dtype) for name, array in named.items()}
    for name in sorted({**expected, **present}):
        if expected.get(name) != present.get(name):
            raise StoreError(
                f"weight {name!r} is {_words(present.get(name))} but the model has "
                f"{_words(expected.get(name))}; the weights are of another model"
            )
    return jax.tree.unflatten(structure, [named[name] for name in expected])


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _words(facts: tuple[Any, Any] | None) -> str:
    return "missing" if facts is None else f"{facts[1]} of shape {tuple(facts[0])}"
