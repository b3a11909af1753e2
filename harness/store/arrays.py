"""Arrays of a sweep's runs, kept in its results folder for workers elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.data.arrays.spec import Arrays
from harness.specs.reading import reader_of
from harness.specs.run import RunSpec
from harness.store.files import LocalFiles
from harness.store.read import Store


def keep_arrays(store: Store, runs: Iterable[RunSpec]) -> None:
    """Copies the arrays of the runs from the cache into the results folder, once."""
    for name, file in _files(runs):
        if not store.files.exists(name):
            store.files.publish(name, file.read_bytes())


def bring_arrays(store: Store, runs: Iterable[RunSpec]) -> None:
    """Copies arrays that this machine lacks from the results folder into its cache."""
    for name, file in _files(runs):
        if not file.exists() and store.files.exists(name):
            LocalFiles(file.parent).publish_once(file.name, store.files.read(name))


def _files(runs: Iterable[RunSpec]) -> Iterator[tuple[str, Path]]:
    """Each file's name in a results folder, and its path in the cache."""
    for spec in {run.data for run in runs if isinstance(run.data, Arrays)}:
        # Its reader needs numpy, which planning else does without.
        for file in reader_of(spec).files_of(spec):
            yield f"data/{spec.digest}/{file.name}", file
