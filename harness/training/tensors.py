"""Weights as a safetensors file: named arrays, and the run that trained them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.data.files import write_whole
from harness.errors import StoreError
from harness.families.arrays import PyTree, named_arrays
from harness.specs.run import RunSpec

Arrays = Mapping[str, NDArray[np.generic]]
"""Weights by name."""
SPEC = "harness.spec"
"""Key of the file's metadata: the run's spec as JSON. It is the only one, as several
would be written in any order, and equal weights shall be equal files."""


def write_tensors(path: Path, run: RunSpec, params: PyTree) -> None:
    """Writes the weights; the file appears whole."""
    content = tensor_bytes(run, params)
    write_whole(path, lambda beside: beside.write_bytes(content))


def tensor_bytes(run: RunSpec, params: PyTree) -> bytes:
    """The content of a safetensors file with the weights, and the run in its head."""
    from safetensors.numpy import save

    arrays = {
        name: np.asarray(a, order="C") for name, a in named_arrays(params).items()
    }
    metadata = {SPEC: json.dumps(run.to_dict())}
    content: bytes = save(arrays, metadata=metadata)
    return content


def read_tensors(path: Path) -> tuple[RunSpec, Arrays]:
    """The run and its named arrays. Raises `StoreError` for a file of another kind."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from None
    return parse_tensors(content, str(path))


def parse_tensors(content: bytes, path: str) -> tuple[RunSpec, Arrays]:
    """The same of the content of a file, which messages call `path`."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(content)
        size = int.from_bytes(content[:8], "little")
        spec = json.loads(content[8 : 8 + size]).get("__metadata__", {}).get(SPEC)
    except (ValueError, SafetensorError) as error:
        raise StoreError(f"{path} cannot be read as safetensors: {error}") from None
    if spec is None:
        raise StoreError(
            f"{path} does not say which run its weights are of; read files that "
            "`harness export` or `Trained.save` wrote"
        )
    return RunSpec.from_dict(json.loads(spec)), arrays
