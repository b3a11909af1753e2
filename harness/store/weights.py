"""Weights that a results folder keeps of finished runs: whole files, checked by a sum.

`weights/<run_id>/model.safetensors` holds the arrays, `run.json` beside it the spec and
the checksum. It is published second, and both before the run's record: a finished run
that is to be kept has its weights. No part of the harness lists or reads this folder
but when weights are asked for.
"""

from __future__ import annotations

import hashlib

from harness.errors import StoreError
from harness.specs.canonical import JsonObject
from harness.store import schema
from harness.store.read import ID, Store

FOLDER = "weights"
KEPT_RUN = ("run.json", "model.safetensors")
KEPT_TRUNK = ("trunk.json", "trunk.safetensors")
"""Files of the weights of a run, and of the state at the end of a trunk."""


def publish_weights(
    store: Store, run_id: str, spec: JsonObject, content: bytes
) -> None:
    """Publishes the weights of a run, given as the content of a safetensors file.

    An earlier attempt's, which ended before its record, are replaced.
    """
    store.files.publish(weights_name(run_id), content)
    facts = {
        "run_id": run_id,
        "spec": spec,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    store.files.publish(facts_name(run_id), schema.with_checksum(facts))


def has_weights(store: Store, run_id: str) -> bool:
    """Whether the weights of a run are kept, whole."""
    return store.files.exists(facts_name(run_id))


def read_weights(store: Store, run_id: str) -> bytes:
    """The content of a run's safetensors file.

    Raises `StoreError` if none is kept, or if it is damaged.
    """
    if not has_weights(store, run_id):
        raise StoreError(
            f"{store.uri} keeps no weights of run {run_id}; runs of a "
            "Sweep(…, keep_weights='final') have them"
        )
    return check_tensors(store, facts_name(run_id), weights_name(run_id))


def check_tensors(store: Store, facts_name: str, name: str) -> bytes:
    """The content of a file of arrays, by the checksum in the file beside it.

    Raises `StoreError` if it is damaged.
    """
    expected = store.json(facts_name).get("sha256")
    try:
        content = store.files.read(name)
    except FileNotFoundError:
        content = b""
    if hashlib.sha256(content).hexdigest() != expected:
        raise StoreError(
            f"{store.uri}/{name} is damaged: its {len(content):,} bytes are not those "
            "that were written"
        )
    return content


def kept_runs(store: Store) -> set[str]:
    """Ids of the runs whose weights are kept."""
    names = store.files.names(FOLDER)
    return {name for name in names if ID.fullmatch(name) and has_weights(store, name)}


def weights_name(run_id: str) -> str:
    """The file of a run's weights."""
    return f"{FOLDER}/{run_id}/{KEPT_RUN[1]}"


def facts_name(run_id: str) -> str:
    """The file whose existence says that a run's weights are whole."""
    return f"{FOLDER}/{run_id}/{KEPT_RUN[0]}"
