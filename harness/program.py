"""A cohort's compiled functions, with its data on the device.

A program trains one run, or a population: P runs of one cohort side by side, vmapped
over whatever differs between them (weights, learning rates, other hyperparameters,
seeds, batches). A population's numbers agree with those of single runs up to rounding.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from harness import device
from harness.data import Dataset
from harness.evaluation import Examples, held_out, training_sample
from harness.layout import PLAIN, Layout, Wanted, choose
from harness.models import build
from harness.optim import hyper, learning_rates
from harness.spec import RunSpec
from harness.step import Batches, State, functions

Measured = tuple[np.ndarray, dict[str, float], dict[str, float]]
"""Losses of the held-out examples; metrics on them, and on training examples."""
SHORTEST, LONGEST = 64, 1024
"""Most steps in one call of the compiled program: for large and for tiny models."""
CHUNK_FLOPS = 3e9
"""Training FLOPs (estimated as 6 · parameters · tokens) that a call may grow to."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """The compiled functions of a cohort, for `population` runs at once.

    Arrays of a population have a leading axis P; those of a single run have not.
    """

    dataset: Dataset
    population: int
    layout: Layout
    chunk: int
    """Most steps in one call."""
    train_data: Any
    held_out: Examples
    sample: Examples | None
    """Training examples that are evaluated too, where the runs ask for it."""
    init: Callable[[Any], State]
    train_chunk: Callable[..., tuple[State, jax.Array]]
    compile_s: float
    memory: int
    """Bytes that a call of the training function needs, its arguments included."""

    def start(self, runs: Sequence[RunSpec]) -> State:
        """Fresh states of the runs."""
        seeds = _stack([np.uint32(run.seed_init) for run in runs])
        return self.init(self.layout.place(seeds, self.layout.own))

    def place(self, state: State) -> State:
        """A state that was kept, where the functions expect it."""
        return self.layout.place(state, self.layout.of_state(state))

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
        # The call takes over arrays of the host in a fifth of the time that
        # `device_put` needs for them.
        with jax.transfer_guard_host_to_device("allow"):
            return self.train_chunk(
                state, hypers, data, _stack(batches), np.int32(last - first)
            )

    def evaluate(self, state: State) -> Callable[[], list[Measured]]:
        """Starts the evaluations; what is returned waits for what they find of each
        run."""
        wait = self.held_out.evaluate(state.params)
        wait_too = self.sample.evaluate(state.params) if self.sample else None

        def measure() -> list[Measured]:
            found = wait()
            if not wait_too:
                return [(losses, metrics, {}) for losses, metrics in found]
            return [
                (losses, metrics, also | {"evaluated_loss": float(on_sample.mean())})
                for (losses, metrics), (on_sample, also) in zip(
                    found, wait_too(), strict=True
                )
            ]

        return measure

    def with_data(self, dataset: Dataset, run: RunSpec) -> Program:
        """The same compiled functions on other data of the same shapes."""
        sample = self.sample
        return dataclasses.replace(
            self,
            dataset=dataset,
            train_data=_device_data(dataset, run, self.chunk, self.layout),
            held_out=self.held_out.moved(dataset, *held_out(dataset)),
            sample=sample and sample.moved(dataset, *training_sample(dataset, run)),
        )


def compile_cohort(
    run: RunSpec,
    dataset: Dataset,
    population: int = 1,
    wanted: Wanted = PLAIN,
    like: Program | None = None,
) -> Program:
    """Compiles the three functions for the shapes of `run`, for so many runs at once.

    A population needs a data set that fits on the device. What the program `like` has
    there of the same data is used by both.
    """
    start = time.perf_counter()
    task = run.data.shape
    # Where each call brings its own examples, a long one would bring too many.
    chunk = chunk_steps(run) if dataset.fits_device else SHORTEST
    model = build(run.model, task, device.DTYPES[run.precision], remat=wanted.remat)
    params = jax.eval_shape(model.init, jax.random.key(0))
    layout = choose(wanted, run, population, params)
    fns = functions(model, dataset.gather, task, run.optim, dataset.augment, layout)

    def init(seed: jax.Array) -> State:
        return fns.init(jax.random.key(seed))

    if like and not (like.dataset is dataset and like.layout == layout):
        like = None
    train_data = like.train_data if like else _device_data(dataset, run, chunk, layout)
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
    own, common, parts = layout.own, layout.common, layout.of_state(state)
    trained = (
        layout.jit(
            train_chunk,
            takes=(parts, own, common, own, common),
            gives=(parts, own),
            donate=True,
        )
        .lower(state, scalars, train_data, batches, jnp.int32(0))
        .compile()
    )
    evaluated = functools.partial(
        Examples.compiled,
        layout.jit(
            evaluate, (layout.of_state(state.params), common, common), gives=own
        ),
        state.params,
        dataset,
        layout,
        task,
        population,
    )
    sample = training_sample(dataset, run) if run.train_eval_examples else None
    return Program(
        dataset=dataset,
        population=population,
        layout=layout,
        chunk=chunk,
        train_data=train_data,
        held_out=evaluated(*held_out(dataset), like=like.held_out if like else None),
        sample=evaluated(*sample) if sample else None,
        init=layout.jit(init, takes=(own,), gives=parts).lower(seeds).compile(),
        train_chunk=trained,
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


def _memory(compiled: Any) -> int:
    found = compiled.memory_analysis()
    if found is None:
        return 0
    return int(found.argument_size_in_bytes + found.temp_size_in_bytes)


def _device_data(dataset: Dataset, run: RunSpec, chunk: int, layout: Layout) -> Any:
    if dataset.fits_device:
        return layout.place(dataset.train, layout.common)
    sample = np.zeros((chunk, run.batch), np.int64)
    return dataset.subset(dataset.train, sample)[0]
