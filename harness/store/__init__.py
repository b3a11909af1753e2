"""The results folder: plain files, each published whole, readable at any moment.

_store.json               {"format": 1}
sweeps/<sweep_id>.json    specs and grid coordinates of a sweep, written once
metrics/<run_id>.parquet  long rows of a finished run
records/<run_id>.json     a finished run's whole record; its existence is "done"
failures/<run_id>.<k>.json  one record per failed attempt
runs.parquet              one wide row per finished run, a view of records/
work/                     what only an unfinished sweep needs (not for git)
"""

from harness.store.publish import publish, publish_once
from harness.store.read import Store, open_store
from harness.store.write import (
    add_failure,
    add_run,
    add_sweep,
    create_store,
    refresh_runs,
    sole_worker,
)

__all__ = [
    "Store",
    "add_failure",
    "add_run",
    "add_sweep",
    "create_store",
    "open_store",
    "publish",
    "publish_once",
    "refresh_runs",
    "sole_worker",
]
