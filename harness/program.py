"""A cohort's compiled functions, with its data on the device.

A program trains one run, or a population: P runs of one cohort side by side, vmapped
over whatever differs between them (weights, learning rates, other hyperparameters,
seeds, batches). A population's numbers agree with those of single runs up to rounding.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from harness import device
from harness.data import Dataset
from harness.metrics import measures
from harness.models import build
from harness.optim import hyper, learning_rates
from harness.spec import RunSpec, TaskShape
from harness.step import Batches, HeldOut, State, functions

SHORTEST, LONGEST = 64, 1024
"""Most steps in one call of the compiled program: for large and for tiny models."""
CHUNK_FLOPS = 3e9
"""Training FLOPs (estimated as 6 · parameters · tokens) that a call may grow to."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """The compiled functions of a cohort, for `population` runs at once.

    Arrays of a population have a leading axis P; those of a single run have not.
    """

    task: TaskShape
    dataset: Dataset
    population: int
    chunk: int
    """Most steps in one call."""
    train_data: Any
    held_out: Any
    eval_offsets: jax.Array
    init: Callable[[Any], State]
    train_chunk: Callable[..., tuple[State, jax.Array]]
    evaluate_all: Callable[..., HeldOut]
    compile_s: float
    memory: int
    """Bytes that a call of the training function needs, its arguments included."""
    targets: np.ndarray | None
    """Held-out targets; None for next tokens."""

    def start(self, runs: Sequence[RunSpec]) -> State:
        """Fresh states of the runs."""
        seeds = _stack([np.uint32(run.seed_init) for run in runs])
        return self.init(jax.device_put(seeds))

    def train(
        self, state: State, runs: Sequence[RunSpec], first: int, last: int
    ) -> tuple[State, jax.Array]:
        """Starts steps [first, last) of all runs; their losses come as (S,) or (P, S).

        The state given is used up. Nothing is waited for.
        """
        hypers, batches = _stack([hyper(r.optim) for r in runs]), []
        data = self.train_data
        examples = _Orders(self.dataset, first, last, self.chunk)
        for run in runs:
            if self.dataset.fits_device:
                offsets = self.dataset.locate(examples.of(run))
            else:
                data, offsets = self.dataset.subset(
                    self.dataset.train, examples.of(run)
                )
            lr = np.zeros(self.chunk, np.float32)
            lr[: last - first] = learning_rates(run.optim, run.steps, first, last)
            batches.append(
                Batches(
                    offsets.astype(np.int32),
                    lr,
                    first=np.int32(first),
                    seed=np.uint32(run.seed_order),
                )
            )
        return self.train_chunk(
            state,
            *jax.device_put((hypers, data, _stack(batches), np.int32(last - first))),
        )

    def evaluate(self, state: State) -> HeldOut:
        """Starts the evaluation of the runs' states; nothing is waited for."""
        return self.evaluate_all(state.params, self.held_out, self.eval_offsets)

    def measure(self, held_out: HeldOut) -> list[tuple[np.ndarray, dict[str, float]]]:
        """Of each run: losses of the held-out examples, metrics of the predictions."""
        found = jax.device_get(held_out)
        if self.population == 1:
            return [self._measure(found)]
        return [self._measure(_member(found, i)) for i in range(self.population)]

    def _measure(self, held_out: HeldOut) -> tuple[np.ndarray, dict[str, float]]:
        found = {name: float(np.mean(x)) for name, x in held_out.monitors.items()}
        if self.targets is not None:
            found |= measures(self.task.target, held_out.outputs_EO, self.targets)
        return np.asarray(held_out.loss_E, np.float64), found

    def with_data(self, dataset: Dataset, run: RunSpec) -> Program:
        """The same compiled functions on other data of the same shapes."""
        return dataclasses.replace(
            self,
            compile_s=0.0,
            dataset=dataset,
            train_data=_device_data(dataset, run, self.chunk),
            held_out=jax.tree.map(jnp.asarray, dataset.held_out),
            eval_offsets=jnp.asarray(dataset.eval_offsets, jnp.int32),
            targets=_targets(dataset, self.task),
        )


def compile_cohort(run: RunSpec, dataset: Dataset, population: int = 1) -> Program:
    """Compiles the three functions for the shapes of `run`, for so many runs at once.

    A population needs a data set that fits on the device.
    """
    start = time.perf_counter()
    task = run.data.shape
    # Where each call brings its own examples, a long one would bring too many.
    chunk = chunk_steps(run) if dataset.fits_device else SHORTEST
    model = build(run.model, task, device.DTYPES[run.precision])
    fns = functions(model, dataset.gather, task, run.optim, dataset.augment)

    def init(seed: jax.Array) -> State:
        return fns.init(jax.random.key(seed))

    train_data = _device_data(dataset, run, chunk)
    held_out = jax.tree.map(jnp.asarray, dataset.held_out)
    eval_offsets = jnp.asarray(dataset.eval_offsets, jnp.int32)
    batches = Batches(
        np.zeros((chunk, run.batch), np.int32),
        np.zeros(chunk, np.float32),
        first=np.int32(0),
        seed=np.uint32(0),
    )
    seeds, scalars, batches = _stack(
        [(np.uint32(0), hyper(run.optim), batches)] * population
    )
    train_chunk, evaluate = fns.train_chunk, fns.evaluate
    if population > 1:
        init = jax.vmap(init)
        train_chunk = jax.vmap(train_chunk, in_axes=(0, 0, None, 0, None))
        evaluate = jax.vmap(evaluate, in_axes=(0, None, None))
    state = jax.eval_shape(init, seeds)
    trained = (
        jax.jit(train_chunk, donate_argnums=0)
        .lower(state, scalars, train_data, batches, jnp.int32(0))
        .compile()
    )
    return Program(
        task=task,
        targets=_targets(dataset, task),
        dataset=dataset,
        population=population,
        chunk=chunk,
        train_data=train_data,
        held_out=held_out,
        eval_offsets=eval_offsets,
        init=jax.jit(init).lower(seeds).compile(),
        train_chunk=trained,
        evaluate_all=jax.jit(evaluate)
        .lower(state.params, held_out, eval_offsets)
        .compile(),
        compile_s=time.perf_counter() - start,
        memory=_memory(trained),
    )


def chunk_steps(run: RunSpec) -> int:
    """Most steps in one call of the compiled program.

    The host's work between two calls must be small beside the call, so tiny models get
    longer ones. A function of the spec, as checkpoints lie at the ends of chunks.
    """
    per_step = 6 * run.model.params(run.data.shape).total * run.tokens_per_step
    chunk = SHORTEST
    while chunk < LONGEST and 2 * chunk * per_step <= CHUNK_FLOPS:
        chunk *= 2
    return chunk


class _Orders:
    """Examples (S, B) of a chunk's steps; runs of one order share theirs."""

    def __init__(self, dataset: Dataset, first: int, last: int, chunk: int) -> None:
        self.dataset, self.first, self.last, self.chunk = dataset, first, last, chunk
        self._known: dict[tuple[int, int], np.ndarray] = {}

    def of(self, run: RunSpec) -> np.ndarray:
        key = run.seed_order, run.batch
        if key not in self._known:
            found = np.zeros((self.chunk, run.batch), np.int64)
            found[: self.last - self.first] = self.dataset.order(
                *key, self.first, self.last
            )
            self._known[key] = found
        return self._known[key]


def _stack(trees: Sequence[Any]) -> Any:
    """One tree as it is; several with a leading axis."""
    if len(trees) == 1:
        return trees[0]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def _member(tree: Any, index: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], tree)


def _memory(compiled: Any) -> int:
    found = compiled.memory_analysis()
    if found is None:
        return 0
    return int(found.argument_size_in_bytes + found.temp_size_in_bytes)


def _targets(dataset: Dataset, task: TaskShape) -> np.ndarray | None:
    if task.target == "next_token":
        return None
    return np.asarray(dataset.gather(dataset.held_out, dataset.eval_offsets)[1])


def _device_data(dataset: Dataset, run: RunSpec, chunk: int) -> Any:
    if dataset.fits_device:
        return jax.tree.map(jnp.asarray, dataset.train)
    sample = np.zeros((chunk, run.batch), np.int64)
    return dataset.subset(dataset.train, sample)[0]
