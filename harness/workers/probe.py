"""Times a cohort's compiled program: a few steps, an evaluation, its memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import jax

from harness.data.dataset import Dataset
from harness.specs.run import RunSpec
from harness.sweeps.options import TrainOptions
from harness.training import device
from harness.training.program import Program, compile_cohort
from harness.workers.forecast import Timing

LEAST_S = 0.1
"""Each timing covers at least about this much training."""
REPEATS = 5
LONGER = 4
"""The length of the second of two calls over the first, where a chunk takes long."""
MEMORY_SHARE = 0.5
"""The share of the free memory that a population may take."""


def probe(
    runs: Sequence[RunSpec], dataset: Dataset, options: TrainOptions
) -> list[Timing]:
    """The timing of the first run alone, and that of all of them side by side, or of as
    many as memory allows."""
    timings = [time_program(compile_cohort(runs[:1], dataset, options), runs[:1])]
    free, width = device.free_memory(), len(runs)
    while width > 1 and dataset.fits_device:
        program = compile_cohort(runs[:width], dataset, options)
        if free is None or program.memory <= MEMORY_SHARE * free:
            timings.append(time_program(program, runs[:width]))
            break
        width //= 2
    return timings


def time_program(program: Program, runs: Sequence[RunSpec]) -> Timing:
    """Trains the runs from fresh states, long enough to time the program."""
    state = program.start(runs)

    def train(steps: int) -> float:
        nonlocal state
        begun = time.perf_counter()
        state, losses = program.train(state, runs, 0, steps)
        jax.block_until_ready(losses)
        return time.perf_counter() - begun

    def evaluate() -> float:
        begun = time.perf_counter()
        program.evaluate(state, runs)()
        return time.perf_counter() - begun

    # The first call of each pays for what is only done once.
    train(1), evaluate()
    return Timing(
        population=len(runs),
        seconds_per_step=_seconds_per_step(train, program.chunk),
        seconds_per_evaluation=statistics.median(evaluate() for _ in range(REPEATS)),
        seconds_compile=program.compile_s,
        memory=program.memory,
    )


def _seconds_per_step(train: Callable[[int], float], chunk: int) -> float:
    """A step's share of a call of `chunk` steps, from as few steps as tell it.

    A call costs something by itself, up to as much as a step does: memory for what it
    computes is new to the process. Two lengths tell the one from the other.
    """
    steps = 1
    while steps < chunk and train(steps) < LEAST_S:
        steps *= 2
    if steps == chunk:
        calls = max(1, round(LEAST_S / train(chunk)))
        rounds = [sum(train(chunk) for _ in range(calls)) for _ in range(REPEATS)]
        return statistics.median(rounds) / (calls * chunk)
    more = min(LONGER * steps, chunk)
    pairs = [(train(steps), train(more)) for _ in range(REPEATS)]
    short = statistics.median(brief for brief, _ in pairs)
    each = (statistics.median(long for _, long in pairs) - short) / (more - steps)
    return each + max(0.0, short - steps * each) / chunk
