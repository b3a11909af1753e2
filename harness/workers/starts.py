"""The weights that runs start from: those that the results folder keeps of others."""

from __future__ import annotations

import dataclasses

import jax

from harness.errors import SpecError
from harness.families.arrays import PyTree, tree_of
from harness.families.build import abstract_key, build
from harness.specs.run import RunSpec
from harness.store import Store
from harness.store.weights import has_weights, kept_runs, read_weights, weights_name
from harness.sweeps.plan import Plan
from harness.training.tensors import parse_tensors


@dataclasses.dataclass(frozen=True, slots=True)
class Starts:
    """The weights that runs start from, read from a results folder."""

    store: Store

    def __call__(self, run: RunSpec) -> PyTree:
        """The weights that `run` starts from.

        Raises `StoreError` if none are kept, if they are damaged, or of other shapes.
        """
        content = read_weights(self.store, run.start_from)
        name = f"{self.store.uri}/{weights_name(run.start_from)}"
        return tree_of(parse_tensors(content, name)[1], _shapes(run))


def check_starts(plan: Plan, store: Store | None) -> None:
    """Raises `SpecError` for a run that starts from weights that it cannot have.

    They must be of a run of the plan, or kept in the store, and of the same shapes.
    """
    planned = {run.run_id: run.run for run in plan.runs}
    pairs = {(run.run.start_from, run.run.model): run.run for run in plan.runs}
    for (source_id, _), run in pairs.items():
        if not source_id:
            continue
        source = planned.get(source_id) or _kept(store, source_id)
        if source is None:
            kept = sorted(kept_runs(store)) if store else []
            shown = ", ".join(kept[:4]) + (", …" if len(kept) > 4 else "")
            raise SpecError(
                f"start_from {source_id} is neither a run of this sweep nor one whose "
                f"weights are kept ({shown or 'none are'})"
            )
        _check_shapes(source_id, _shapes(source), run)


def _kept(store: Store | None, run_id: str) -> RunSpec | None:
    if store is None or not has_weights(store, run_id):
        return None
    return RunSpec.from_dict(store.record(run_id)["spec"])


def _check_shapes(source_id: str, source: PyTree, run: RunSpec) -> None:
    present, wanted = _by_name(source), _by_name(_shapes(run))
    for name in sorted({**present, **wanted}):
        if present.get(name) != wanted.get(name):
            shapes = (present.get(name, "missing"), wanted.get(name, "missing"))
            raise SpecError(
                f"start_from {source_id}: weight {name!r} has shape {shapes[0]} there "
                f"and {shapes[1]} in the {run.model.family} that starts from it"
            )


def _by_name(tree: PyTree) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf.shape
        for path, leaf in leaves
    }


def _shapes(run: RunSpec) -> PyTree:
    return jax.eval_shape(build(run.model, run.data.shape).init, abstract_key())
