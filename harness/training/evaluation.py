"""Evaluates fixed examples: those held out, and a sample of those trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Self

import jax
import numpy as np
from numpy.typing import NDArray

from harness.data.dataset import Arrays, Dataset
from harness.specs.run import RunSpec
from harness.specs.task import TaskShape
from harness.training.metrics import measures
from harness.training.sharding import Sharding
from harness.training.step import HeldOut, PyTree

Index = NDArray[np.int64]
Found = tuple[np.ndarray, dict[str, float]]
"""Losses of the examples (E,), and metrics of the predictions by name."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Examples:
    """Examples on the device, with the compiled function that evaluates them."""

    arrays: PyTree
    offsets: jax.Array
    targets: np.ndarray | None
    """What is predicted; None for next tokens."""
    run: Callable[..., HeldOut]
    sharding: Sharding
    task: TaskShape
    population: int
    """Runs whose states are evaluated at once; then outputs have a leading axis."""

    @classmethod
    def compiled(
        cls,
        run: Any,
        params: PyTree,
        dataset: Dataset,
        sharding: Sharding,
        task: TaskShape,
        population: int,
        arrays: Arrays,
        offsets: Index,
        like: Examples | None = None,
    ) -> Self:
        """`run` is a jitted `Functions.evaluate`; of `params` only shapes matter.

        If `like` is given, it has these very examples on the device already.
        """
        if like:
            found = {k: getattr(like, k) for k in ("arrays", "offsets", "targets")}
        else:
            found = _placed(dataset, sharding, task, arrays, offsets)
        ready = run.lower(params, found["arrays"], found["offsets"]).compile()
        return cls(
            run=ready, sharding=sharding, task=task, population=population, **found
        )

    def moved(self, dataset: Dataset, arrays: Arrays, offsets: Index) -> Self:
        """The same program on other examples of the same shapes."""
        placed = _placed(dataset, self.sharding, self.task, arrays, offsets)
        return dataclasses.replace(self, **placed)

    def evaluate(self, params: PyTree) -> Callable[[], list[Found]]:
        """Starts the evaluation; the returned function waits for what it finds of each
        run."""
        started = self.run(params, self.arrays, self.offsets)

        def wait() -> list[Found]:
            found = jax.device_get(started)
            if self.population == 1:
                return [self._measure(found)]
            return [self._measure(_member(found, i)) for i in range(self.population)]

        return wait

    def _measure(self, held_out: HeldOut) -> Found:
        metrics = {k: float(np.mean(v)) for k, v in held_out.monitors.items()}
        if self.targets is not None:
            metrics |= measures(self.task.target, held_out.outputs_EO, self.targets)
        return np.asarray(held_out.loss_E, np.float64), metrics


def _member(tree: PyTree, index: int) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[index], tree)


def held_out(dataset: Dataset) -> tuple[Arrays, Index]:
    """The held-out examples: arrays and offsets."""
    return dataset.held_out, dataset.eval_offsets


def training_sample(dataset: Dataset, run: RunSpec) -> tuple[Arrays, Index]:
    """The training examples that `run` evaluates: arrays and offsets."""
    return dataset.sample(run.train_evaluated)


def _placed(
    dataset: Dataset,
    sharding: Sharding,
    task: TaskShape,
    arrays: Arrays,
    offsets: Index,
) -> dict[str, Any]:
    targets = None
    if task.target != "next_token":
        targets = np.asarray(dataset.gather(arrays, offsets)[1])
    return {
        "arrays": sharding.place(arrays, sharding.common),
        "offsets": sharding.place(offsets.astype(np.int32), sharding.common),
        "targets": targets,
    }
