"""Trains a trunk: the steps its runs share once, then each run's own last steps.

A run's numbers are the same whether it is trained alone or as a branch, in one go or
resumed: the state at its branch step is a copy, the batches and learning rates are
functions of the step, and the evaluation grid below the branch step is common to all
lengths.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from harness import device
from harness.data import Dataset
from harness.evaluation import Examples, held_out, training_sample
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
    held_out: Examples
    sample: Examples | None
    """Training examples that are evaluated too, where the run asks for it."""
    init: Callable[..., State]
    train_chunk: Callable[..., tuple[State, jax.Array]]
    compile_s: float

    def with_data(self, dataset: Dataset, run: RunSpec) -> Program:
        """The same compiled functions on other data of the same shapes."""
        sample = self.sample
        return dataclasses.replace(
            self,
            compile_s=0.0,
            dataset=dataset,
            train_data=_device_data(dataset, run),
            held_out=self.held_out.moved(dataset, *held_out(dataset)),
            sample=sample and sample.moved(dataset, *training_sample(dataset, run)),
        )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """Held-out loss after `step` updates (nats per token, or mean squared error)."""

    step: int
    loss: float
    loss_se: float
    seconds: float
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    """Further metrics of the predictions, by name."""
    train_metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    """The same, and `evaluated_loss`, on a sample of the training examples."""


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

    def add_evaluation(
        self,
        step: int,
        losses: np.ndarray,
        metrics: dict[str, float],
        train_metrics: dict[str, float],
    ) -> None:
        """Losses of the held-out examples, and metrics, after `step` updates."""
        if self.diverged_step is not None:
            return
        mean = float(losses.mean())
        if not math.isfinite(mean):
            self.diverged_step = step
            return
        spread = float(losses.std(ddof=1) / math.sqrt(len(losses)))
        self.evaluations.append(
            Evaluation(
                step=step,
                loss=mean,
                loss_se=spread,
                seconds=self.seconds,
                metrics=metrics,
                train_metrics=train_metrics,
            )
        )

    def stopped_step(self, patience: int) -> int | None:
        """Step of the `patience`-th evaluation in a row without a new best loss.

        It follows from the evaluations alone, so a resumed run stops at the same step.
        """
        best, waited = math.inf, 0
        for evaluation in self.evaluations:
            waited = 0 if evaluation.loss < best else waited + 1
            best = min(best, evaluation.loss)
            if patience and waited == patience:
                return evaluation.step
        return None


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
    def stopped_step(self) -> int | None:
        """Step at which the run's patience ended it early."""
        return self.history.stopped_step(self.planned.run.patience)

    @property
    def annealed(self) -> bool:
        """Whether the learning rate has decayed to its end."""
        finished = self.status == "done" and self.stopped_step is None
        return finished and self.planned.run.optim.schedule != "constant"


@dataclasses.dataclass(kw_only=True, slots=True)
class Position:
    """Where training stands: the state after `len(history.losses)` steps."""

    state: State
    history: History

    @property
    def step(self) -> int:
        """Updates done."""
        return len(self.history.losses)


Measured = tuple[np.ndarray, dict[str, float], dict[str, float]]
"""Losses of the held-out examples; metrics on them, and on training examples."""

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
    fns = functions(model, dataset.gather, task, run.optim, dataset.augment)
    train_data = _device_data(dataset, run)
    key = jax.random.key(run.seed_init)
    state = jax.eval_shape(fns.init, key)
    chunk = Batches(
        jax.ShapeDtypeStruct((CHUNK, run.batch), jnp.int32),
        jax.ShapeDtypeStruct((CHUNK,), jnp.float32),
        jax.ShapeDtypeStruct((), jnp.int32),
        jax.ShapeDtypeStruct((), jnp.uint32),
    )
    train_chunk = jax.jit(fns.train_chunk, donate_argnums=0)
    scalars = hyper(run.optim)
    evaluated = functools.partial(
        Examples.compiled, jax.jit(fns.evaluate), state.params, dataset, task
    )
    sample = training_sample(dataset, run) if run.train_eval_examples else None
    return Program(
        dataset=dataset,
        train_data=train_data,
        held_out=evaluated(*held_out(dataset)),
        sample=evaluated(*sample) if sample else None,
        init=jax.jit(fns.init).lower(key).compile(),
        train_chunk=train_chunk.lower(
            state, scalars, train_data, chunk, jnp.int32(0)
        ).compile(),
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
        leg.finish(branch, planned.run)
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

        Stops early once a loss is not finite, which the history then says, or once the
        run's patience is at its end.
        """
        run, history = planned.run, at.history
        begun = time.perf_counter() - history.seconds
        grid = common_grid(to, run.evals_per_octave)
        while at.step < to and not _over(history, run):
            step = at.step
            stop = min([to, step + CHUNK, *(g for g in grid if g > step)])
            at.state, losses = self._chunk(at.state, run, step, stop)
            # All are dispatched before any is waited for.
            measure = self._evaluate(at.state) if stop in grid else None
            history.add_losses(np.asarray(losses)[: stop - step])
            history.seconds = time.perf_counter() - begun
            if measure is not None:
                history.add_evaluation(stop, *measure())
            self.keeper.reached(
                Moment(
                    planned=planned,
                    part=part,
                    position=at,
                    new_steps=stop - step,
                    trunk=trunk,
                )
            )

    def finish(self, at: Position, run: RunSpec) -> None:
        """Evaluates the end of the run, unless that lies on the grid."""
        history = at.history
        evaluated = {e.step for e in history.evaluations[-1:]}
        if not _over(history, run) and run.steps not in evaluated:
            history.add_evaluation(run.steps, *self._evaluate(at.state)())

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
        batches = Batches(
            offsets.astype(np.int32),
            lr,
            first=np.int32(first),
            seed=np.uint32(run.seed_order),
        )
        return program.train_chunk(
            state, hyper(run.optim), data, batches, np.int32(last - first)
        )

    def _evaluate(self, state: State) -> Callable[[], Measured]:
        """Dispatches the evaluations; what is returned waits for their numbers."""
        program = self.program
        wait = program.held_out.evaluate(state.params)
        wait_too = program.sample and program.sample.evaluate(state.params)

        def measure() -> Measured:
            losses, metrics = wait()
            if not wait_too:
                return losses, metrics, {}
            on_sample, found = wait_too()
            return losses, metrics, found | {"evaluated_loss": float(on_sample.mean())}

        return measure


def _over(history: History, run: RunSpec) -> bool:
    """Whether there is nothing more to train before the run's budget is spent."""
    stopped = history.stopped_step(run.patience)
    return history.diverged_step is not None or stopped is not None


def _device_data(dataset: Dataset, run: RunSpec) -> Any:
    if dataset.fits_device:
        return jax.tree.map(jnp.asarray, dataset.train)
    sample = np.zeros((CHUNK, run.batch), np.int64)
    return dataset.subset(dataset.train, sample)[0]
