"""Which code reads which `DataSpec`."""

from __future__ import annotations

import importlib
from types import ModuleType

from harness.data.dataset import Dataset
from harness.errors import DataError
from harness.specs.run import DataSpec

READERS = {
    "images": "harness.data.images.read",
    "manifold_teacher": "harness.data.synthetic.read",
    "power_law_features": "harness.data.synthetic.read",
    "sparse_parity": "harness.data.synthetic.read",
    "table": "harness.data.tables.read",
    "teacher_student": "harness.data.synthetic.teacher",
    "text": "harness.data.text.read",
    "two_moons": "harness.data.synthetic.read",
    "zipf_markov": "harness.data.synthetic.read",
}
"""Source to the module that reads it, imported when first needed; add your own."""


def resolve(spec: DataSpec) -> DataSpec:
    """`spec` with what only the data know: content hash, number of unique examples.

    Raises `DataError` for missing or malformed files, and when more unique data are
    asked for than exist.
    """
    reader = _reader(spec)
    return reader.resolve(spec) if hasattr(reader, "resolve") else spec


def check_files(spec: DataSpec) -> None:
    """Raises `DataError` if `spec` can be planned, but its files are not here."""
    reader = _reader(spec)
    if hasattr(reader, "check_files"):
        reader.check_files(spec)


def load(spec: DataSpec, seed_data: int) -> Dataset:
    """The data set of a resolved spec; `seed_data` draws its random parts."""
    return _reader(spec).load(spec, seed_data)


def _reader(spec: DataSpec) -> ModuleType:
    if spec.source not in READERS:
        raise DataError(f"no reader for data source {spec.source!r}")
    return importlib.import_module(READERS[spec.source])
