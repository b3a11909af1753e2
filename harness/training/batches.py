"""The input of a cohort's compiled program: chunks of steps, and their batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

import jax
import numpy as np

from harness.data.dataset import Arrays, Dataset
from harness.families.arrays import PyTree
from harness.schedules.rates import learning_rates
from harness.specs.run import RunSpec
from harness.training.step import Batches

SHORTEST, LONGEST = 64, 1024
"""Most steps in one call of the compiled program: for large and for tiny models."""
CHUNK_FLOPS = 3e9
"""Training FLOPs (estimated as 6 · parameters · tokens) that a call may grow to."""


class ProgramShape(NamedTuple):
    """The facts about the runs trained at once that a cohort's program depends on."""

    size: int
    same_batches: bool
    """Whether they are several and all see the same examples in the same order: then
    these are gathered, and what is random in a step is drawn, once for all."""

    @classmethod
    def of(cls, runs: Sequence[RunSpec]) -> Self:
        """The shape of the program for these runs."""
        orders = {run.seed_order for run in runs}
        return cls(len(runs), same_batches=len(orders) == 1 < len(runs))


def chunk_steps(run: RunSpec, dataset: Dataset) -> int:
    """Most steps in one call of the compiled program.

    The host's work between two calls must be small beside the call, so tiny models get
    longer ones. A function of the spec, as checkpoints lie at the ends of chunks.
    """
    # Where each call brings its own examples, a long one would bring too many.
    if not dataset.fits_device:
        return SHORTEST
    per_step = 6 * run.model.params(run.data.shape).total * run.tokens_per_step
    chunk = SHORTEST
    while chunk < LONGEST and 2 * chunk * per_step <= CHUNK_FLOPS:
        chunk *= 2
    return chunk


def batches_of(
    dataset: Dataset, runs: Sequence[RunSpec], first: int, last: int, chunk: int
) -> tuple[Arrays | None, Batches]:
    """The batches of steps [first, last) of a cohort's runs, padded to `chunk` steps.

    Before them come the examples themselves, where the device has no room for all of
    them; else None.
    """
    seen = runs[:1] if ProgramShape.of(runs).same_batches else runs
    batch = runs[0].batch
    orders = {
        seed: dataset.order(seed, batch, first, last)
        for seed in {run.seed_order for run in seen}
    }
    index = np.zeros((len(seen), chunk, batch), np.int64)
    for index_SB, run in zip(index, seen, strict=True):
        index_SB[: last - first] = orders[run.seed_order]
    brought = None
    if dataset.fits_device:
        index = dataset.locate(index)
    else:
        brought, index = dataset.subset(dataset.train, index)
    lr_PS = np.zeros((len(runs), chunk), np.float32)
    for lr_S, run in zip(lr_PS, runs, strict=True):
        lr_S[: last - first] = learning_rates(run, first, last)
    return brought, Batches(
        offsets_SB=stack(index.astype(np.int32)),
        lr_S=stack(lr_PS),
        first=np.int32(first),
        seed=stack([np.uint32(run.seed_order) for run in seen]),
    )


def stack(trees: PyTree) -> PyTree:
    """A single tree as it is; several trees, or one array of them, with an axis P."""
    if len(trees) == 1:
        return trees[0]
    if isinstance(trees, np.ndarray):
        return trees
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)
