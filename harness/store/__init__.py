"""Results folders: whole files that many workers share without a server (no jax).

_store.json               the format of the folder; a newer one is refused
sweep.json                name and question of the sweep run last, and its id
sweeps/<sweep_id>.json    a sweep's expansion, written once
metrics/<run_id>.parquet  long rows of a finished run, written once
weights/<run_id>/         weights of a run that a sweep keeps, or the end of a trunk
data/<hash>/              arrays in memory that runs are trained on
records/<run_id>.json     a finished run's whole record; its existence is "done"
packed/, metrics/packed-*.parquet  records and rows of many runs in few files, and the
                          index that says which has which: see `packs`
runs.parquet              one wide row per finished run, a view of records/
failures/<trunk_id>.<k>.json  one record per failed attempt at a trunk
orders/                   what `harness retry` and `harness cancel` asked for
populations/              how many runs of one shape are trained side by side
quarantine/               what `harness doctor` has put aside; nothing is deleted
work/                     what only an unfinished sweep needs (not for git):
    logs/<worker>.log         what a local worker printed
    <trunk_id>/claim-<n>.json, beat-<n>.json, release-<n>.json
                              the lease of generation n, and its holder's heartbeat
    <trunk_id>/parts/         rows of an unfinished run, to look at
    <trunk_id>/ckpt/          checkpoints

A `Store` reads by its methods and never writes; everything that writes is a function
that takes a store. `files` and `objects` are the two places where one can be; `schema`,
`read` and `write` know its tables, `packs` and `packing` many runs in few files;
`leases`, `identity`, `failures` and `requests` who trains what; `status` and `doctor`
tell people about it.
"""

from harness.store.read import Store, open_store
from harness.store.write import (
    add_metrics,
    add_record,
    add_sweep,
    create_store,
    refresh_runs,
    use_system_memory,
)

__all__ = [
    "Store",
    "add_metrics",
    "add_record",
    "add_sweep",
    "create_store",
    "open_store",
    "refresh_runs",
    "use_system_memory",
]
