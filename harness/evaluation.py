"""Evaluates fixed examples: those held out, and a sample of those trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from harness.data import Dataset
from harness.data.dataset import Arrays
from harness.metrics import measures
from harness.spec import RunSpec, TaskShape
from harness.step import HeldOut, PyTree

Index = NDArray[np.int64]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Examples:
    """Examples on the device, with the compiled function that evaluates them."""

    arrays: PyTree
    offsets: jax.Array
    targets: np.ndarray | None
    """What is predicted; None for next tokens."""
    run: Callable[..., HeldOut]
    task: TaskShape

    @classmethod
    def compiled(
        cls,
        run: Any,
        params: PyTree,
        dataset: Dataset,
        task: TaskShape,
        arrays: Arrays,
        offsets: Index,
    ) -> Self:
        """`run` is a jitted `Functions.evaluate`; of `params` only shapes matter."""
        found = _placed(dataset, task, arrays, offsets)
        ready = run.lower(params, found["arrays"], found["offsets"]).compile()
        return cls(run=ready, task=task, **found)

    def moved(self, dataset: Dataset, arrays: Arrays, offsets: Index) -> Self:
        """The same program on other examples of the same shapes."""
        return dataclasses.replace(self, **_placed(dataset, self.task, arrays, offsets))

    def evaluate(
        self, params: PyTree
    ) -> Callable[[], tuple[np.ndarray, dict[str, float]]]:
        """Dispatches the evaluation; the returned function waits for its losses
        (E,) and its metrics by name."""
        found = self.run(params, self.arrays, self.offsets)

        def wait() -> tuple[np.ndarray, dict[str, float]]:
            metrics = {k: float(np.mean(v)) for k, v in found.monitors.items()}
            if self.targets is not None:
                outputs_EO = np.asarray(found.outputs_EO)
                metrics |= measures(self.task.target, outputs_EO, self.targets)
            return np.asarray(found.loss_E, np.float64), metrics

        return wait


def held_out(dataset: Dataset) -> tuple[Arrays, Index]:
    """The held-out examples: arrays and offsets."""
    return dataset.held_out, dataset.eval_offsets


def training_sample(dataset: Dataset, run: RunSpec) -> tuple[Arrays, Index]:
    """The training examples that `run` evaluates: arrays and offsets."""
    return dataset.sample(run.train_evaluated)


def _placed(
    dataset: Dataset, task: TaskShape, arrays: Arrays, offsets: Index
) -> dict[str, Any]:
    targets = None
    if task.target != "next_token":
        targets = np.asarray(dataset.gather(arrays, offsets)[1])
    return {
        "arrays": jax.tree.map(jnp.asarray, arrays),
        "offsets": jnp.asarray(offsets, jnp.int32),
        "targets": targets,
    }
