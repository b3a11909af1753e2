"""The ends of trunks that a results folder keeps, so that longer runs go on from there.

Each trunk has its own, whatever population it was trained in: the state of training
after its shared steps, and what was recorded up to there. A sweep that later asks for a
longer run trains the steps from there on alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from harness.errors import StoreError
from harness.families.arrays import PyTree
from harness.store import Store, schema
from harness.store.weights import FOLDER, KEPT_TRUNK, check_tensors
from harness.sweeps.plan import PlannedRun
from harness.training.history import History
from harness.training.snapshot import Snapshot
from harness.training.step import State

HISTORY = "history"


def keep_trunks(store: Store, runs: Sequence[PlannedRun], snapshot: Snapshot) -> None:
    """Keeps the snapshot of each of the runs' trunks, unless a later one is there."""
    from safetensors.numpy import save

    for index, planned in enumerate(runs):
        state = _member(snapshot.state, index, len(runs))
        leaves = {
            f"leaf_{i:05d}": np.asarray(leaf, order="C")
            for i, leaf in enumerate(jax.tree.leaves(jax.device_get(state)))
        }
        history = json.dumps(snapshot.histories[index].to_json())
        content = save(leaves, metadata={HISTORY: history})
        facts = {
            "trunk_id": planned.trunk_id,
            "step": snapshot.step,
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        if (_step(store, planned.trunk_id) or 0) < snapshot.step:
            store.files.publish(_tensors(planned.trunk_id), content)
            store.files.publish(_facts(planned.trunk_id), schema.with_checksum(facts))


def newest_trunks(
    store: Store, trunk_ids: Sequence[str], until: int, like: State
) -> Snapshot | None:
    """The kept ends of trunks that are trained side by side, as one snapshot.

    None where one of them has none, or they end at different steps or after `until`.
    Raises `StoreError` if one is damaged.
    """
    steps = {_step(store, trunk_id) for trunk_id in trunk_ids}
    if len(steps) > 1 or None in steps:
        return None
    (step,) = steps
    assert step is not None
    if step > until:
        return None
    members = [_read(store, trunk_id) for trunk_id in trunk_ids]
    leaves = [
        jnp.asarray(each[0] if len(each) == 1 else np.stack(each))
        for each in zip(*(arrays for arrays, _ in members), strict=True)
    ]
    shapes = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(like)]
    if shapes != [(leaf.shape, leaf.dtype) for leaf in leaves]:
        raise StoreError("a kept trunk is not of this model's shapes")
    state = jax.tree.unflatten(jax.tree.structure(like), leaves)
    histories = [history for _, history in members]
    return Snapshot(state=state, step=step, histories=histories)


def _member(state: State, index: int, count: int) -> PyTree:
    return state if count == 1 else jax.tree.map(lambda leaf: leaf[index], state)


def _step(store: Store, trunk_id: str) -> int | None:
    if not store.files.exists(_facts(trunk_id)):
        return None
    return int(store.json(_facts(trunk_id))["step"])


def _read(store: Store, trunk_id: str) -> tuple[list[np.ndarray], History]:
    from safetensors.numpy import load

    content = check_tensors(store, _facts(trunk_id), _tensors(trunk_id))
    size = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + size])["__metadata__"]
    arrays = load(content)
    history = History.from_json(json.loads(metadata[HISTORY]))
    return [arrays[name] for name in sorted(arrays)], history


def _tensors(trunk_id: str) -> str:
    return f"{FOLDER}/{trunk_id}/{KEPT_TRUNK[1]}"


def _facts(trunk_id: str) -> str:
    return f"{FOLDER}/{trunk_id}/{KEPT_TRUNK[0]}"
