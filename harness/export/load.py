"""The weights that a results folder keeps, as trained models."""

from __future__ import annotations

from pathlib import Path

from harness.errors import SpecError
from harness.export.trained import Trained
from harness.specs.run import RunSpec
from harness.store import Store, open_store
from harness.store.weights import read_weights, weights_name
from harness.training.tensors import parse_tensors


def load_trained(store: Store | str | Path, run: str) -> Trained:
    """The run that begins with these digits, with the weights that were kept of it.

    Args:
        store: a results folder, or its path or address.
        run: the run's id, or as many of its first digits as no other has.

    Raises:
        SpecError: no finished run begins so, or several do.
        StoreError: none of its weights were kept, or they are damaged.
    """
    if not isinstance(store, Store):
        store = open_store(store)
    run_id = run_named(store, run)
    spec = RunSpec.from_dict(store.record(run_id)["spec"])
    name = f"{store.uri}/{weights_name(run_id)}"
    _, arrays = parse_tensors(read_weights(store, run_id), name)
    return Trained.of(spec, arrays)


def run_named(store: Store, start: str) -> str:
    """The id of the one finished run whose id begins so. Raises `SpecError`."""
    finished = sorted(store.finished())
    fitting = [run_id for run_id in finished if start and run_id.startswith(start)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        shown = ", ".join(fitting[:4]) + (", …" if len(fitting) > 4 else "")
        raise SpecError(
            f"{len(fitting)} finished runs begin with {start!r}: {shown}; give more "
            "digits"
        )
    shown = ", ".join(finished[:4]) + (", …" if len(finished) > 4 else "")
    raise SpecError(
        f"no finished run of {store.uri} begins with {start!r}; "
        f"there are {shown or 'none'}"
    )
