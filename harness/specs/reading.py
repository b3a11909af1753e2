"""The code that reads a data set, called by the name that its spec gives.

Planning needs what only the data know (sizes, content hashes) but none of the code that
reads them; so a `DataSpec` names its reader, which is imported when first needed. That
module defines `load(spec, seed_data)`, and where the data lie in files, `resolve(spec)`
and `check_files(spec)`.
"""

from __future__ import annotations

import dataclasses
import importlib
from types import ModuleType
from typing import TypeVar

from harness.errors import DataError
from harness.specs.run import DataSpec, RunSpec

D = TypeVar("D", bound=DataSpec)


def resolve(spec: D) -> D:
    """The spec with what only the data know: content hash, number of unique examples.

    Raises `DataError` for missing or malformed files, and when more unique data are
    asked for than exist.
    """
    reader = reader_of(spec)
    if not hasattr(reader, "resolve"):
        return spec
    resolved: D = reader.resolve(spec)
    return resolved


def run_id_of(run: RunSpec) -> str:
    """The id of a run whose data may not have been read yet. Raises `DataError`."""
    return dataclasses.replace(run, data=resolve(run.data)).run_id


def check_files(spec: DataSpec) -> None:
    """Raises `DataError` if `spec` cannot be trained on here, though it was planned.

    Its files may be elsewhere, or not be those that it was resolved from.
    """
    reader = reader_of(spec)
    if hasattr(reader, "check_files"):
        reader.check_files(spec)
    resolve(spec)


def reader_of(spec: DataSpec) -> ModuleType:
    """The module that reads the data of `spec`.

    Raises `DataError` if the spec names none, or one that cannot be imported.
    """
    name = getattr(spec, "reader", "")
    if not name:
        raise DataError(
            f"class {type(spec).__name__} names no reader; give it a line "
            "reader = 'package.module'"
        )
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise DataError(
            f"data source {spec.source} names the reader {name!r}, which cannot be "
            f"imported: {error}"
        ) from error
