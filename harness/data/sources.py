"""Which code reads which `DataSpec`."""

from __future__ import annotations

from harness.data import teacher, text
from harness.data.dataset import Dataset
from harness.errors import DataError
from harness.spec import DataSpec, TeacherStudent, Text


def resolve(spec: DataSpec) -> DataSpec:
    """`spec` with what only the data know: content hash, number of unique tokens.

    Raises `DataError` for a missing or malformed corpus, and when more unique data are
    asked for than exist.
    """
    return text.resolve(spec) if isinstance(spec, Text) else spec


def load(spec: DataSpec, seed_data: int) -> Dataset:
    """The data set of a resolved spec; `seed_data` draws its random parts."""
    match spec:
        case Text():
            return text.load(spec, seed_data)
        case TeacherStudent():
            return teacher.load(spec, seed_data)
        case _:
            raise DataError(f"no reader for data source {spec.source!r}")
