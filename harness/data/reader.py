"""The three questions that the readers of data sets answer, for any `DataSpec`."""

from __future__ import annotations

from harness.data.dataset import Dataset
from harness.specs.reading import check_files, reader_of, resolve
from harness.specs.run import DataSpec

__all__ = ["check_files", "load", "resolve"]


def load(spec: DataSpec, seed_data: int) -> Dataset:
    """The data set of a resolved spec; `seed_data` draws its random parts."""
    dataset: Dataset = reader_of(spec).load(spec, seed_data)
    return dataset
