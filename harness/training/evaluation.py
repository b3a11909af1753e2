"""Evaluates fixed examples: those held out, and a sample of those trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple, Self

import jax
import numpy as np
from numpy.typing import NDArray

from harness.data.dataset import Arrays, Dataset
from harness.data.files import Array
from harness.families.arrays import PyTree
from harness.specs.run import RunSpec
from harness.training.metrics import measures, own_measures
from harness.training.sharding import Sharding
from harness.training.step import HeldOut

Index = NDArray[np.int64]
Evaluated = tuple[NDArray[np.float64], dict[str, float]]
"""Losses of the examples (E,), and metrics of the predictions by name."""


class Placed(NamedTuple):
    """Examples on the device, and on the host what is to be predicted of them."""

    arrays: PyTree
    offsets: jax.Array
    targets: Array | None
    """Labels or reals; None for next tokens."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Evaluator:
    """The evaluation of a cohort's runs, to be compiled for sets of examples."""

    function: jax.stages.Wrapped
    """A jitted `Functions.evaluate`."""
    weights: tuple[PyTree, PyTree]
    """Shapes and types of the parameters, and of the traced values of the loss."""
    sharding: Sharding
    run: RunSpec
    population: int
    """Runs whose states are evaluated at once; then outputs have a leading axis."""

    def place(self, dataset: Dataset, arrays: Arrays, offsets: Index) -> Placed:
        """Puts examples on the device."""
        targets = None
        if self.run.data.shape.target != "next_token":
            targets = np.asarray(dataset.gather(arrays, offsets)[1])
        place, common = self.sharding.place, self.sharding.common
        return Placed(
            arrays=place(arrays, common),
            offsets=place(offsets.astype(np.int32), common),
            targets=targets,
        )

    def compile(self, placed: Placed) -> Examples:
        """Compiles the evaluation of these examples."""
        lowered = self.function.lower(*self.weights, placed.arrays, placed.offsets)
        return Examples(evaluator=self, placed=placed, run=lowered.compile())


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Examples:
    """Examples on the device, with the compiled function that evaluates them."""

    evaluator: Evaluator
    placed: Placed
    run: Callable[..., HeldOut]

    def moved(self, dataset: Dataset, arrays: Arrays, offsets: Index) -> Self:
        """The same program on other examples of the same shapes."""
        placed = self.evaluator.place(dataset, arrays, offsets)
        return dataclasses.replace(self, placed=placed)

    def evaluate(self, params: PyTree, values: PyTree) -> Callable[[], list[Evaluated]]:
        """Starts the evaluation of weights, with the traced values of their losses.

        The returned function waits for each run's numbers.
        """
        placed = self.placed
        with jax.transfer_guard_host_to_device("allow"):
            started = self.run(params, values, placed.arrays, placed.offsets)

        def wait() -> list[Evaluated]:
            held_out, population = jax.device_get(started), self.evaluator.population
            if population == 1:
                return [self._measure(held_out)]
            return [self._measure(_member(held_out, i)) for i in range(population)]

        return wait

    def _measure(self, held_out: HeldOut) -> Evaluated:
        metrics = {k: float(np.mean(v)) for k, v in held_out.monitors.items()}
        if self.placed.targets is not None:
            outputs_EO = np.asarray(held_out.outputs_EO)
            run, targets = self.evaluator.run, self.placed.targets
            metrics |= measures(run.data.shape.target, outputs_EO, targets)
            metrics |= own_measures(run, outputs_EO, targets)
        return np.asarray(held_out.loss_E, np.float64), metrics


def held_out(dataset: Dataset) -> tuple[Arrays, Index]:
    """The held-out examples: arrays and offsets."""
    return dataset.held_out, dataset.eval_offsets


def training_sample(dataset: Dataset, run: RunSpec) -> tuple[Arrays, Index]:
    """The training examples that `run` evaluates: arrays and offsets."""
    return dataset.sample(run.train_evaluated)


def _member(population: HeldOut, index: int) -> HeldOut:
    member: HeldOut = jax.tree.map(lambda leaf: leaf[index], population)
    return member
