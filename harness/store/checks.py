"""Checks of what the files of a store hold."""

from __future__ import annotations

import pyarrow as pa

from harness.errors import HarnessError, StoreError, UnknownTagError
from harness.specs.run import RunSpec
from harness.store import schema
from harness.store.read import ID


class Foreign(Exception):  # noqa: N818 - no error of the store
    """A spec of a version that is not known here."""


def check_spec(spec: object, run_id: str) -> None:
    """Raises `StoreError` if a spec is not that of a run, `Foreign` if none known."""
    try:
        spec_id = RunSpec.from_dict(spec).run_id
    except UnknownTagError:
        raise
    except HarnessError as error:
        if isinstance(spec, dict) and ID.fullmatch(run_id):
            raise Foreign(error) from None
        raise StoreError(f"holds no spec: {error}") from None
    if spec_id != run_id:
        raise StoreError(f"holds the spec of run {spec_id}")


def check_metrics(content: bytes, run_id: str, name: str) -> pa.Table:
    """The metrics of a run. Raises `StoreError` if a file holds anything else."""
    table = schema.read_parquet(content, name)
    if not table.schema.remove_metadata().equals(schema.METRICS):
        raise StoreError("does not have the columns of a metrics file")
    footer = (table.schema.metadata or {}).get(b"run_id", b"").decode()
    if footer != run_id or set(table.column("run_id").to_pylist()) - {run_id}:
        raise StoreError("holds rows of another run")
    return table
