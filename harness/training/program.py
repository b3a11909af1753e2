"""A cohort's compiled functions, with its data on the device.

A program trains one run, or a population: P runs of one cohort side by side, vmapped
over whatever differs between them (weights, learning rates, other hyperparameters,
seeds, batches). A population's numbers agree with those of single runs up to rounding.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils

from harness.data.dataset import Arrays, Dataset
from harness.errors import SpecError
from harness.families.arrays import PyTree
from harness.families.build import build
from harness.optimizers.update import Hyper, hyper
from harness.specs.run import RunSpec
from harness.sweeps.options import TrainOptions
from harness.training import device
from harness.training.batches import (
    ProgramShape,
    batches_of,
    chunk_steps,
    stack,
)
from harness.training.evaluation import Evaluator, Examples, held_out, training_sample
from harness.training.sharding import Sharding, choose
from harness.training.step import (
    Batches,
    ChunkInputs,
    Functions,
    State,
    functions,
)

Initial = Callable[[RunSpec], PyTree]
"""The weights that a run starts from, as arrays of the host."""
Measured = tuple[np.ndarray, dict[str, float], dict[str, float]]
"""Losses of the held-out examples; metrics on them, and on training examples."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """The compiled functions of a cohort, for one run or several at once.

    Arrays that each member of a population has for itself have a leading axis P; those
    of a single run, and those common to all members, have none.
    """

    dataset: Dataset
    shape: ProgramShape
    sharding: Sharding
    chunk: int
    """Most steps in one call."""
    train_data: Arrays | None
    """The data on the device; None where it has no room, and calls bring their own."""
    held_out: Examples
    sample: Examples | None
    """Training examples that are evaluated too, where the runs ask for it."""
    init: Callable[[PyTree, PyTree], State]
    restart: Callable[[PyTree, PyTree], State] | None
    """The initial state with given weights, where the runs start from others'."""
    judged: Callable[[State, PyTree], PyTree] | None
    """The weights to be judged, where they are not those that are trained."""
    train_chunk: Callable[..., tuple[State, jax.Array]]
    compile_s: float
    memory: int
    """Bytes that a call of the training function needs, its arguments included."""

    def start(self, runs: Sequence[RunSpec], initial: Initial | None = None) -> State:
        """Fresh states of the runs, with the weights that `initial` has for them.

        Raises `SpecError` where weights are needed and there are none.
        """
        if self.restart is not None:
            if initial is None:
                raise SpecError("the run starts from another's weights; give them")
            params = stack([initial(run) for run in runs])
            shardings = self.sharding.for_state(params)
            with jax.transfer_guard_host_to_device("allow"):
                return self.restart(
                    self.sharding.place(params, shardings), hypers(runs)
                )
        seeds = stack([np.uint32(run.seed_init) for run in runs])
        with jax.transfer_guard_host_to_device("allow"):
            return self.init(seeds, hypers(runs))

    def place(self, state: State) -> State:
        """The state, which was kept on the host, where the functions expect it."""
        placed: State = self.sharding.place(state, self.sharding.for_state(state))
        return placed

    def train(
        self, state: State, runs: Sequence[RunSpec], first: int, last: int
    ) -> tuple[State, jax.Array]:
        """Starts steps [first, last) of all runs; their losses come as (S,) or (P, S).

        The state given is used up. Nothing is waited for.
        """
        brought, batches = batches_of(self.dataset, runs, first, last, self.chunk)
        data = brought or self.train_data
        # The call takes over arrays of the host in a fifth of the time that
        # `device_put` needs for them.
        with jax.transfer_guard_host_to_device("allow"):
            return self.train_chunk(
                *ChunkInputs(state, hypers(runs), data, batches, np.int32(last - first))
            )

    def weights(self, state: State, runs: Sequence[RunSpec]) -> PyTree:
        """The weights of the runs that are to be judged, and to be kept."""
        if self.judged is None:
            return state.params
        with jax.transfer_guard_host_to_device("allow"):
            return self.judged(state, hypers(runs))

    def weights_on_host(self, state: State, runs: Sequence[RunSpec]) -> list[PyTree]:
        """The same, of each run, as arrays of the host; on all hosts together."""
        weights = self.weights(state, runs)
        if jax.process_count() > 1:
            weights = multihost_utils.process_allgather(weights, tiled=True)
        weights = jax.device_get(weights)
        if len(runs) == 1:
            return [weights]
        return [jax.tree.map(lambda x, i=i: x[i], weights) for i in range(len(runs))]

    def evaluate(
        self, state: State, runs: Sequence[RunSpec]
    ) -> Callable[[], list[Measured]]:
        """Starts the evaluations; the returned function waits for each run's."""
        params = self.weights(state, runs)
        values = hypers(runs).loss
        wait = self.held_out.evaluate(params, values)
        wait_too = self.sample.evaluate(params, values) if self.sample else None

        def measure() -> list[Measured]:
            evaluated = wait()
            if not wait_too:
                return [(losses, metrics, {}) for losses, metrics in evaluated]
            return [
                (losses, metrics, also | {"evaluated_loss": float(on_sample.mean())})
                for (losses, metrics), (on_sample, also) in zip(
                    evaluated, wait_too(), strict=True
                )
            ]

        return measure

    def with_data(self, dataset: Dataset, run: RunSpec) -> Program:
        """The same compiled functions on other data of the same shapes."""
        sample = self.sample
        return dataclasses.replace(
            self,
            dataset=dataset,
            train_data=_resident(dataset, self.sharding),
            held_out=self.held_out.moved(dataset, *held_out(dataset)),
            sample=sample and sample.moved(dataset, *training_sample(dataset, run)),
        )


def hypers(runs: Sequence[RunSpec]) -> PyTree:
    """The traced values of the runs."""
    return stack([hyper(run) for run in runs])


def compile_cohort(
    runs: Sequence[RunSpec],
    dataset: Dataset,
    options: TrainOptions,
    like: Program | None = None,
) -> Program:
    """Compiles the functions for runs of equal shapes, for all of them at once.

    What the program `like` has of the same data on the device is used by both.
    """
    start = time.perf_counter()
    run, task, shape = runs[0], runs[0].data.shape, ProgramShape.of(runs)
    chunk = chunk_steps(run, dataset)
    model = build(run.model, task, device.DTYPES[run.precision], remat=options.remat)
    sharding = choose(options, run, shape.size)
    if like and not (like.dataset is dataset and like.sharding == sharding):
        like = None
    fns = _for_population(
        functions(model, dataset.gather, run, dataset.augment, sharding), shape
    )
    seeds, values = stack([(np.uint32(0), hyper(run))] * shape.size)
    state = jax.eval_shape(fns.init, seeds, values)
    train_data = like.train_data if like else _resident(dataset, sharding)
    brought, batches = batches_of(dataset, runs, 0, 0, chunk)
    train_chunk = _compile_training(
        fns,
        shape,
        sharding,
        ChunkInputs(state, values, brought or train_data, batches, np.int32(0)),
    )
    evaluator = _evaluator(fns, sharding, (state.params, values.loss), run, shape.size)
    sample = training_sample(dataset, run) if run.train_eval_examples else None
    init = sharding.jit(
        fns.init,
        takes=(sharding.per_member, sharding.per_member),
        gives=sharding.for_state(state),
    )
    return Program(
        dataset=dataset,
        shape=shape,
        sharding=sharding,
        chunk=chunk,
        train_data=train_data,
        held_out=evaluator.compile(
            like.held_out.placed
            if like
            else evaluator.place(dataset, *held_out(dataset))
        ),
        sample=evaluator.compile(evaluator.place(dataset, *sample)) if sample else None,
        init=init.lower(seeds, values).compile(),
        restart=_restart(fns, sharding, state, values) if run.start_from else None,
        judged=_judged(fns, sharding, state, values)
        if run.optimizer.evaluation
        else None,
        train_chunk=train_chunk,
        compile_s=time.perf_counter() - start,
        memory=_memory(train_chunk),
    )


def _for_population(fns: Functions, shape: ProgramShape) -> Functions:
    """The functions of seeds instead of keys, vmapped if there are several runs.

    A single run has no leading axis: with one, its numbers would be rounded otherwise.
    """

    def init(seed: jax.Array, values: Hyper) -> State:
        return fns.init(jax.random.key(seed), values)

    if shape.size == 1:
        return dataclasses.replace(fns, init=init)
    axes = _by_member(shape, each=0, common=None)
    return Functions(
        init=jax.vmap(init),
        train_chunk=jax.vmap(fns.train_chunk, in_axes=tuple(axes)),
        restart=jax.vmap(fns.restart),
        judged=jax.vmap(fns.judged),
        evaluate=jax.vmap(fns.evaluate, in_axes=(0, 0, None, None)),
    )


def _by_member(shape: ProgramShape, each: PyTree, common: PyTree) -> ChunkInputs:
    """`each` for the arguments that members have by themselves, `common` for others."""
    order = common if shape.same_batches else each
    return ChunkInputs(
        state=each,
        hyper=each,
        data=common,
        batches=Batches(offsets_SB=order, lr_S=each, first=common, seed=order),
        n_steps=common,
    )


def _compile_training(
    fns: Functions, shape: ProgramShape, sharding: Sharding, inputs: ChunkInputs
) -> jax.stages.Compiled:
    state = sharding.for_state(inputs.state)
    shardings = _by_member(shape, sharding.per_member, sharding.common)
    jitted = sharding.jit(
        fns.train_chunk,
        takes=tuple(shardings._replace(state=state)),
        gives=(state, sharding.per_member),
        donate=True,
    )
    return jitted.lower(*inputs).compile()


def _restart(
    fns: Functions, sharding: Sharding, state: State, values: PyTree
) -> jax.stages.Compiled:
    jitted = sharding.jit(
        fns.restart,
        takes=(sharding.for_state(state.params), sharding.per_member),
        gives=sharding.for_state(state),
    )
    return jitted.lower(state.params, values).compile()


def _judged(
    fns: Functions, sharding: Sharding, state: State, values: PyTree
) -> jax.stages.Compiled:
    jitted = sharding.jit(
        fns.judged,
        takes=(sharding.for_state(state), sharding.per_member),
        gives=sharding.for_state(state.params),
    )
    return jitted.lower(state, values).compile()


def _evaluator(
    fns: Functions,
    sharding: Sharding,
    weights: tuple[PyTree, PyTree],
    run: RunSpec,
    population: int,
) -> Evaluator:
    state, each, common = (
        sharding.for_state(weights[0]),
        sharding.per_member,
        sharding.common,
    )
    return Evaluator(
        function=sharding.jit(fns.evaluate, (state, each, common, common), gives=each),
        weights=weights,
        sharding=sharding,
        run=run,
        population=population,
    )


def _resident(dataset: Dataset, sharding: Sharding) -> Arrays | None:
    return (
        sharding.place(dataset.train, sharding.common) if dataset.fits_device else None
    )


def _memory(compiled: jax.stages.Compiled) -> int:
    memory = compiled.memory_analysis()
    if memory is None:
        return 0
    return int(memory.argument_size_in_bytes + memory.temp_size_in_bytes)
