"""Parts from outside the package, tried before a sweep is written.

A mistake in a part of the user's own would else be found by workers, as the failure of
a run after the compilation of another. Nothing is trained here: shapes and types are
traced, schedules are computed, and data are looked at.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters.partial_eval import dce_jaxpr

from harness.data.dataset import Dataset, load
from harness.errors import DataError, HarnessError, SpecError
from harness.families.arrays import PyTree
from harness.families.build import abstract_key, build
from harness.optimizers.update import Hyper, hyper, transform
from harness.schedules.rates import learning_rates
from harness.specs.base import Spec
from harness.specs.registry import label
from harness.specs.run import RunSpec
from harness.specs.source import code_digest
from harness.specs.task import TaskShape
from harness.sweeps.plan import cohort_key
from harness.training.step import example_metrics, held_out_losses, training_losses

B = 4
"""Examples in the batches that shapes are traced with."""
LOOKED_AT = 65_536
"""Most examples of a data source that are looked at."""


def check_parts(runs: Iterable[RunSpec]) -> None:
    """Raises `SpecError` or `DataError`, one line, for a part that cannot be trained.

    Parts of this package are taken for sound.
    """
    schedules: dict[object, RunSpec] = {}
    cohorts: dict[object, RunSpec] = {}
    sources: dict[object, RunSpec] = {}
    for run in runs:
        if is_outside(run.schedule):
            schedules[run.schedule, run.steps] = run
        if is_outside(run.data):
            sources[run.data, run.seed_data] = run
        if any(map(is_outside, run.parts())):
            cohorts.setdefault(cohort_key(run), run)
    for run in schedules.values():
        _check_schedule(run)
    for run in sources.values():
        with _named(run.data):
            _check_data(run, load(run.data, run.seed_data))
    for run in cohorts.values():
        _check_cohort(run)


def is_outside(part: Spec) -> bool:
    """Whether a part is defined outside this package."""
    return bool(code_digest(type(part)))


@contextlib.contextmanager
def _named(part: Spec) -> Iterator[None]:
    """Whatever the code of a part raises, in one line that names the part."""
    try:
        yield
    except HarnessError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise SpecError(
            f"{label(type(part))}: {type(error).__name__}: {text}"
        ) from None


def _check_schedule(run: RunSpec) -> None:
    schedule, steps = run.schedule, run.steps
    with _named(schedule):
        start = schedule.decay_start(steps)
        rates = learning_rates(run, 0, steps)
        longer = run.schedule.decay_start(2 * steps)
        shared = min(start, longer)
        apart = learning_rates(_of_length(run, 2 * steps), 0, shared)
    where = label(type(schedule))
    if not 0 <= start <= steps:
        raise SpecError(f"{where}: decay_start is {start} in a run of {steps} steps")
    if rates.shape != (steps,):
        raise SpecError(
            f"{where} returns shape {rates.shape} for {steps} steps; return a share "
            "for each step"
        )
    bad = np.flatnonzero(~(np.isfinite(rates) & (rates >= 0)))
    if len(bad):
        raise SpecError(f"{where} gives a rate of {rates[bad[0]]} at step {bad[0]}")
    differ = np.flatnonzero(rates[:shared] != apart)
    if len(differ):
        raise SpecError(
            f"{where} has other rates in runs of {steps} and of {2 * steps} steps at "
            f"step {differ[0]}, before its decay starts at step {start}; let "
            "decay_start say where rates begin to depend on the length"
        )


def _of_length(run: RunSpec, steps: int) -> RunSpec:
    changed: RunSpec = run.from_dict(run.to_dict() | {"steps": steps})
    return changed


def _check_data(run: RunSpec, dataset: Dataset) -> None:
    """Raises `DataError` for examples that are not of the shape that the spec tells."""
    arrays = [*dataset.train.items(), *dataset.held_out.items()]
    where = label(type(run.data))
    for name, array in arrays:
        if np.asarray(array).dtype == object:
            raise DataError(f"{where}: array {name!r} has rows of different lengths")
    count = min(run.data.unique, LOOKED_AT)
    samples = {
        "training": dataset.sample(count),
        "held-out": (dataset.held_out, dataset.eval_offsets[:LOOKED_AT]),
    }
    for noun, (content, offsets) in samples.items():
        inputs, targets = map(np.asarray, dataset.gather(content, offsets))
        _check_inputs(f"{where}: {noun} inputs", inputs, run.data.shape)
        _check_targets(f"{where}: {noun} targets", targets, run.data.shape)


def _check_inputs(where: str, inputs: np.ndarray, task: TaskShape) -> None:
    _check_shape(where, inputs, input_shape(task))
    if task.kind == "tokens":
        _check_ids(where, inputs, task.inputs)
    elif not np.isfinite(inputs).all():
        raise DataError(f"{where} hold a number that is not finite")


def _check_targets(where: str, targets: np.ndarray, task: TaskShape) -> None:
    _check_shape(where, targets, target_shape(task))
    if task.target != "real":
        _check_ids(where, targets, task.outputs)
    elif not np.isfinite(targets).all():
        raise DataError(f"{where} hold a number that is not finite")


def _check_shape(where: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.shape[1:] != shape:
        raise DataError(
            f"{where} have shape {array.shape[1:]} an example; the spec says {shape}"
        )


def _check_ids(where: str, ids: np.ndarray, below: int) -> None:
    if not np.array_equal(ids, np.floor(ids)):
        raise DataError(f"{where} are not whole numbers")
    if ids.size and not (ids.min() >= 0 and ids.max() < below):
        raise DataError(
            f"{where} lie in {ids.min()} … {ids.max()}; they must lie in "
            f"0 … {below - 1}"
        )


def input_shape(task: TaskShape) -> tuple[int, ...]:
    """The shape of an example's inputs."""
    shapes = {
        "tokens": (task.length,),
        "vectors": (task.inputs,),
        "images": (*task.size, task.inputs),
        "sequences": (task.length, task.inputs),
    }
    return shapes[task.kind]


def target_shape(task: TaskShape) -> tuple[int, ...]:
    """The shape of an example's targets."""
    shapes = {"next_token": (task.length,), "class": (), "real": (task.outputs,)}
    return shapes[task.target]


def _check_cohort(run: RunSpec) -> None:
    inputs, targets = _abstract_batch(run.data.shape)
    try:
        model = build(run.model, run.data.shape)
        params = jax.eval_shape(model.init, abstract_key())
        values = jax.eval_shape(model.apply, params, inputs)
    # One size of a family may fail where others do not: that is a row, not the end.
    except Exception:
        return
    _check_count(run, params)
    h = hyper(run)
    _check_optimizer(run, h, params)
    with _named(run.loss):
        for losses in (training_losses(run, h), held_out_losses(run, h.loss)):
            _check_examples(run.loss, jax.eval_shape(losses, values, targets))
    for metric in run.metrics:
        with _named(metric):
            for name, numbers in example_metrics(run).items():
                if name == metric.name:
                    found = jax.eval_shape(numbers, values, targets)
                    _check_examples(metric, found)


def _abstract_batch(task: TaskShape) -> tuple[PyTree, PyTree]:
    """Inputs and targets of a batch, as shapes and types."""
    inputs = jnp.int32 if task.kind == "tokens" else jnp.float32
    targets = jnp.float32 if task.target == "real" else jnp.int32
    return (
        jax.ShapeDtypeStruct((B, *input_shape(task)), inputs),
        jax.ShapeDtypeStruct((B, *target_shape(task)), targets),
    )


def _check_count(run: RunSpec, params: PyTree) -> None:
    real = sum(leaf.size for leaf in jax.tree.leaves(params))
    told = run.model.params(run.data.shape).total
    if real != told:
        raise SpecError(
            f"{label(type(run.model))} counts {told:,} parameters; its module has "
            f"{real:,}"
        )


def _check_examples(part: Spec, numbers: Any) -> None:
    if getattr(numbers, "shape", None) != (B,):
        shape = getattr(numbers, "shape", type(numbers).__name__)
        raise SpecError(
            f"{label(type(part))} returns shape {shape} for a batch of {B}; return a "
            f"number for each example, shape ({B},)"
        )
    if not jnp.issubdtype(numbers.dtype, jnp.floating):
        raise SpecError(f"{label(type(part))} returns {numbers.dtype}, not reals")


def _check_optimizer(run: RunSpec, h: Hyper, params: PyTree) -> None:
    optimizer, where = run.optimizer, label(type(run.optimizer))

    def init(values: PyTree, lr: PyTree, params: PyTree) -> PyTree:
        return transform(optimizer, {**values, "lr": lr}, lr).init(params)

    def update(values: PyTree, state: PyTree, params: PyTree) -> PyTree:
        return transform(optimizer, values, values["lr"]).update(params, state, params)

    others = {name: value for name, value in h.optimizer.items() if name != "lr"}
    with _named(optimizer):
        jaxpr = jax.make_jaxpr(init)(others, np.float32(1), params)
        state = jax.eval_shape(init, others, np.float32(1), params)
        updates, after = jax.eval_shape(update, h.optimizer, state, params)
    if _uses(jaxpr.jaxpr, len(others)):
        raise SpecError(
            f"{where}: its initial state depends on the learning rate, which changes "
            "from step to step; use h.lr in the updates alone"
        )
    _check_same(f"{where}: updates", params, updates)
    _check_same(f"{where}: the state", state, after)


def _uses(jaxpr: Any, index: int) -> bool:
    """Whether a result depends on the argument of this index."""
    _, used = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return bool(used[index])


def _check_same(what: str, before: PyTree, after: PyTree) -> None:
    if str(jax.tree.structure(before)) != str(jax.tree.structure(after)):
        raise SpecError(f"{what} of a step are another tree than before it")
    pairs: Sequence[tuple[Any, Any]] = list(
        zip(jax.tree.leaves_with_path(before), jax.tree.leaves(after), strict=True)
    )
    for (path, old), new in pairs:
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            types = [f"{leaf.dtype}{list(leaf.shape)}" for leaf in (old, new)]
            place = jax.tree_util.keystr(path)
            raise SpecError(f"{what} at {place} change in a step: {' to '.join(types)}")
