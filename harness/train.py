"""Trains a trunk: the steps its runs share once, then each run's own last steps.

A run's numbers are the same whether it is trained alone or as a branch, in one go or
resumed: the state at its branch step is a copy, the batches and learning rates are
functions of the step, and the evaluation grid below the branch step is common to all
lengths.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from harness import device
from harness.data import Dataset
from harness.models import build
from harness.optim import hyper, learning_rates
from harness.plan import PlannedRun, Trunk
from harness.spec import RunSpec
from harness.step import Batches, State, functions

CHUNK = 64
"""Most steps in one call of the compiled program."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """A cohort's compiled functions and its data on the device."""

    dataset: Dataset
    train_data: Any
    held_out: Any
    eval_offsets: jax.Array
    init: Callable[..., State]
    train_chunk: Callable[..., tuple[State, jax.Array]]
    evaluate: Callable[..., jax.Array]
    compile_s: float

    def with_data(self, dataset: Dataset, run: RunSpec) -> Program:
        """The same compiled functions on other data of the same shapes."""
        return dataclasses.replace(
            self,
            compile_s=0.0,
            dataset=dataset,
            train_data=_device_data(dataset, run),
            held_out=jax.tree.map(jnp.asarray, dataset.held_out),
            eval_offsets=jnp.asarray(dataset.eval_offsets, jnp.int32),
        )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """Held-out loss after `step` updates (nats per token, or mean squared error)."""

    step: int
    loss: float
    loss_se: float
    seconds: float


@dataclasses.dataclass(kw_only=True, slots=True)
class History:
    """What a run has seen so far: a loss per step, evaluations on the grid."""

    losses: list[float] = dataclasses.field(default_factory=list)
    evaluations: list[Evaluation] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    diverged_step: int | None = None
    """First step whose training loss, or evaluation, is not finite."""

    def branch(self) -> History:
        """A copy that a branch continues."""
        return dataclasses.replace(
            self, losses=[*self.losses], evaluations=[*self.evaluations]
        )

    def add_losses(self, losses: np.ndarray) -> None:
        """Losses of the next steps, up to the first that is not finite."""
        bad = np.flatnonzero(~np.isfinite(losses))
        if len(bad):
            self.diverged_step = len(self.losses) + int(bad[0])
            losses = losses[: bad[0] + 1]
        self.losses += losses.tolist()

    def add_evaluation(self, step: int, losses: np.ndarray) -> None:
        """Losses of the held-out examples after `step` updates."""
        if self.diverged_step is not None:
            return
        mean = float(losses.mean())
        if not math.isfinite(mean):
            self.diverged_step = step
            return
        spread = float(losses.std(ddof=1) / math.sqrt(len(losses)))
        self.evaluations.append(
            Evaluation(step=step, loss=mean, loss_se=spread, seconds=self.seconds)
        )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """A finished run, as it goes into the store."""

    planned: PlannedRun
    history: History
    compile_s: float

    @property
    def status(self) -> str:
        """Either "done" or "diverged"; both are results."""
        return "done" if self.history.diverged_step is None else "diverged"

    @property
    def annealed(self) -> bool:
        """Whether the learning rate has decayed to its end."""
        return self.status == "done" and self.planned.run.optim.schedule != "constant"


@dataclasses.dataclass(kw_only=True, slots=True)
class Position:
    """Where training stands: the state after `len(history.losses)` steps."""

    state: State
    history: History

    @property
    def step(self) -> int:
        """Updates done."""
        return len(self.history.losses)


TRUNK = "trunk"
"""Name of the shared part of a trunk; a branch has its run's id as its name."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """A chunk was trained: for which run, on which part, and where that stands."""

    planned: PlannedRun
    part: str
    position: Position
    new_steps: int
    trunk: Position | None
    """While a branch is trained, the shared position that later runs go on from."""

    @property
    def loss(self) -> float:
        """Training loss of the last step."""
        return self.position.history.losses[-1]


class Keeper(Protocol):
    """Keeps positions, so that training can go on where another process left it."""

    def newest(self, part: str, until: int, like: State) -> Position | None:
        """The newest sound position of a part at a step of at most `until`."""
        ...

    def reached(self, moment: Moment) -> None:
        """Looks at a position after each chunk; may keep it, or raise to stop here."""
        ...


class Forgetful:
    """Keeps nothing: every training starts at step 0."""

    def newest(self, part: str, until: int, like: State) -> Position | None:
        """None."""

    def reached(self, moment: Moment) -> None:
        """Goes on."""


def compile_cohort(run: RunSpec, dataset: Dataset) -> Program:
    """Compiles the three functions for the shapes of `run`."""
    start = time.perf_counter()
    task = run.data.shape
    model = build(run.model, task, device.DTYPES[run.precision])
    fns = functions(model, dataset.gather, task.kind, run.optim.optimizer)
    train_data = _device_data(dataset, run)
    held_out = jax.tree.map(jnp.asarray, dataset.held_out)
    eval_offsets = jnp.asarray(dataset.eval_offsets, jnp.int32)
    key = jax.random.key(run.seed_init)
    state = jax.eval_shape(fns.init, key)
    chunk = Batches(
        jax.ShapeDtypeStruct((CHUNK, run.batch), jnp.int32),
        jax.ShapeDtypeStruct((CHUNK,), jnp.float32),
    )
    train_chunk = jax.jit(fns.train_chunk, donate_argnums=0)
    evaluate = jax.jit(fns.evaluate)
    scalars = hyper(run.optim)
    return Program(
        dataset=dataset,
        train_data=train_data,
        held_out=held_out,
        eval_offsets=eval_offsets,
        init=jax.jit(fns.init).lower(key).compile(),
        train_chunk=train_chunk.lower(
            state, scalars, train_data, chunk, jnp.int32(0)
        ).compile(),
        evaluate=evaluate.lower(state.params, held_out, eval_offsets).compile(),
        compile_s=time.perf_counter() - start,
    )


def train_trunk(trunk: Trunk, program: Program, keeper: Keeper) -> Iterator[Result]:
    """Trains the trunk's runs, yielding each as soon as it is finished.

    What `keeper` has of them is gone on from.
    """
    first = trunk.runs[0]
    start = program.init(jax.random.key(first.run.seed_init))
    leg = Leg(program=program, keeper=keeper, like=jax.eval_shape(lambda: start))
    here = leg.kept(TRUNK, first.branch_step)
    here = here or Position(state=start, history=History())
    for index, planned in enumerate(trunk.runs):
        last, own = index == len(trunk.runs) - 1, planned.run_id
        branch = leg.kept(own, planned.run.steps)
        # Later runs need the shared position even where a branch goes on by itself.
        if not (last and branch):
            leg.advance(here, planned, TRUNK, planned.branch_step)
        if branch is None:
            # The next chunk donates its state: a branch needs a copy of its own.
            branch = here if last else _copy(here)
        leg.advance(branch, planned, own, planned.run.steps, None if last else here)
        leg.finish(branch, planned.run.steps)
        compile_s = program.compile_s if index == 0 else 0.0
        yield Result(planned=planned, history=branch.history, compile_s=compile_s)


def _copy(position: Position) -> Position:
    state = jax.tree.map(jnp.copy, position.state)
    return Position(state=state, history=position.history.branch())


def common_grid(steps: int, per_octave: int) -> list[int]:
    """Steps up to `steps` at which every run is evaluated: round(2^(k / per_octave)).

    It does not depend on a run's length, so a trunk is evaluated alike for all its
    runs. Each run is evaluated at its end as well.
    """
    last = math.ceil(per_octave * math.log2(max(1, steps)))
    grid = {round(2 ** (k / per_octave)) for k in range(last + 1)}
    return sorted(step for step in grid if step <= steps)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Leg:
    """Moves positions forward along runs' schedules."""

    program: Program
    keeper: Keeper
    like: State
    """Shapes and types of a state."""

    def kept(self, part: str, until: int) -> Position | None:
        """The newest position of a part that an earlier attempt has left."""
        return self.keeper.newest(part, until, self.like)

    def advance(
        self,
        at: Position,
        planned: PlannedRun,
        part: str,
        to: int,
        trunk: Position | None = None,
    ) -> None:
        """Trains up to step `to`, evaluating on the common grid on the way.

        Stops early once a loss is not finite; the history then says so.
        """
        run, history = planned.run, at.history
        begun = time.perf_counter() - history.seconds
        grid = common_grid(to, run.evals_per_octave)
        while at.step < to and history.diverged_step is None:
            step = at.step
            stop = min([to, step + CHUNK, *(g for g in grid if g > step)])
            at.state, losses = self._chunk(at.state, run, step, stop)
            # Both are dispatched before either is waited for.
            held_out = self._evaluate(at.state) if stop in grid else None
            history.add_losses(np.asarray(losses)[: stop - step])
            history.seconds = time.perf_counter() - begun
            if held_out is not None:
                history.add_evaluation(stop, np.asarray(held_out, np.float64))
            self.keeper.reached(
                Moment(
                    planned=planned,
                    part=part,
                    position=at,
                    new_steps=stop - step,
                    trunk=trunk,
                )
            )

    def finish(self, at: Position, steps: int) -> None:
        """Evaluates the end of the run, unless that lies on the grid."""
        history = at.history
        evaluated = {e.step for e in history.evaluations[-1:]}
        if history.diverged_step is None and steps not in evaluated:
            held_out = np.asarray(self._evaluate(at.state), np.float64)
            history.add_evaluation(steps, held_out)

    def _chunk(
        self, state: State, run: RunSpec, first: int, last: int
    ) -> tuple[State, jax.Array]:
        program, dataset = self.program, self.program.dataset
        examples = np.zeros((CHUNK, run.batch), np.int64)
        examples[: last - first] = dataset.order(run.seed_order, run.batch, first, last)
        lr = np.zeros(CHUNK, np.float32)
        lr[: last - first] = learning_rates(run.optim, run.steps, first, last)
        if dataset.fits_device:
            data, offsets = program.train_data, dataset.locate(examples)
        else:
            data, offsets = dataset.subset(dataset.train, examples)
        batches = Batches(offsets.astype(np.int32), lr)
        return program.train_chunk(
            state, hyper(run.optim), data, batches, np.int32(last - first)
        )

    def _evaluate(self, state: State) -> jax.Array:
        program = self.program
        return program.evaluate(state.params, program.held_out, program.eval_offsets)


def _device_data(dataset: Dataset, run: RunSpec) -> Any:
    if dataset.fits_device:
        return jax.tree.map(jnp.asarray, dataset.train)
    sample = np.zeros((CHUNK, run.batch), np.int64)
    return dataset.subset(dataset.train, sample)[0]
