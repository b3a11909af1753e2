"""What happens before a sweep is trained: checks, and its record in the folder."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence

from harness.store import Store, add_sweep, create_store, open_store
from harness.store.arrays import keep_arrays
from harness.store.read import MARKER, files_at, read_runs
from harness.sweeps import mismatch
from harness.sweeps.plan import Plan, sweep_record
from harness.sweeps.promises import Promise


def existing_store(where: str) -> Store | None:
    """The store at a path or address, None if there is none yet."""
    return open_store(where) if files_at(where).exists(MARKER) else None


def write_sweep(
    plan: Plan,
    where: str,
    *,
    name: str,
    doc: str,
    promises: Sequence[Promise],
    say: Callable[[str], None],
) -> tuple[Store, Plan]:
    """Writes a sweep into its results folder, which is made if there is none.

    Args:
        plan: the plan of all its runs.
        where: the path or address of the folder.
        name: of the sweep.
        doc: the question that it asks.
        promises: what it promises of its results.
        say: is told why finished runs of the folder are no runs of this sweep.

    Returns:
        The store, and the plan of what is left to train.

    Raises:
        HarnessError: data are missing, or runs start from weights that they cannot
            have. Then nothing was written.
    """
    existing = existing_store(where)
    check_starts(plan, existing)
    remaining = plan.without(existing.finished() if existing else ())
    remaining.check_files()
    for line in mismatch_lines(plan, existing) if existing else ():
        say(line)
    store = create_store(where)
    keep_arrays(store, [run.run for run in plan.runs])
    record = sweep_record(plan, name=name, doc=doc)
    add_sweep(store, record | {"promises": [p.to_dict() for p in promises]})
    return store, remaining


def check_parts(plan: Plan) -> None:
    """Raises `SpecError` for a part of the user's own that cannot be trained."""
    if plan.has_own_parts:
        # It needs jax, which planning with the parts of this package does not.
        parts = importlib.import_module("harness.training.parts")
        parts.check_parts(run.run for run in plan.runs)


def check_starts(plan: Plan, store: Store | None) -> None:
    """Raises `SpecError` for runs that start from weights that they cannot have."""
    if any(run.run.start_from for run in plan.runs):
        importlib.import_module("harness.workers.starts").check_starts(plan, store)


def mismatch_lines(plan: Plan, store: Store) -> list[str]:
    """Lines that say why finished runs of a store are not runs of this plan."""
    finished = store.finished()
    remaining = plan.without(finished).runs
    strangers = finished - {planned.run_id for planned in plan.runs}
    table = read_runs(store) if remaining and strangers else None
    if table is None:
        return []
    fields = {field for planned in remaining for field in planned.run.flat()}
    names = [name for name in table.column_names if name in fields | {"run_id"}]
    rows = [r for r in table.select(names).to_pylist() if r["run_id"] in strangers]
    older = mismatch.older_code(rows, [planned.run.flat() for planned in remaining])
    line = [older_code_line(older)] if older else []
    return line + mismatch.explain(rows, remaining)


def older_code_line(count: int) -> str:
    """The line about finished runs of older code."""
    noun = "run is" if count == 1 else "runs are"
    return f"{count} finished {noun} of older code of parts of your own"
