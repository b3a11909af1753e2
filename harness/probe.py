"""Times a cohort's compiled program: a few steps, an evaluation, its memory."""

from __future__ import annotations

import statistics
import time

import jax

from harness import device
from harness.data import Dataset
from harness.forecast import Timing
from harness.layout import PLAIN, Wanted
from harness.program import Program, compile_cohort
from harness.spec import RunSpec

LEAST_S = 0.1
"""Each timing covers at least about this much training."""
REPEATS = 5
MEMORY_SHARE = 0.5
"""Of the memory that is free, what a population may take."""


def probe(
    run: RunSpec, dataset: Dataset, widest: int = 1, wanted: Wanted = PLAIN
) -> list[Timing]:
    """Times for one run, and for a population of `widest` or what memory allows."""
    found = [time_program(compile_cohort(run, dataset, wanted=wanted), run)]
    free, width = device.free_memory(), widest
    while width > 1 and dataset.fits_device:
        program = compile_cohort(run, dataset, width, wanted)
        if free is None or program.memory <= MEMORY_SHARE * free:
            found.append(time_program(program, run))
            break
        width //= 2
    return found


def time_program(program: Program, run: RunSpec) -> Timing:
    """Runs the program on fresh states, long enough to time it."""
    runs = [run] * program.population
    state = program.start(runs)

    def train(calls: int, steps: int) -> float:
        nonlocal state
        begun = time.perf_counter()
        for _ in range(calls):
            state, losses = program.train(state, runs, 0, steps)
        jax.block_until_ready(losses)
        return time.perf_counter() - begun

    def evaluate() -> float:
        begun = time.perf_counter()
        program.evaluate(state)()
        return time.perf_counter() - begun

    # The first call of each pays for what is only done once.
    train(1, 1), evaluate()
    steps = program.chunk
    while steps > 1 and train(1, 1) * steps > LEAST_S:
        steps //= 2
    calls = max(1, round(LEAST_S / train(1, steps)))
    rounds = [train(calls, steps) for _ in range(REPEATS)]
    return Timing(
        population=program.population,
        seconds_per_step=statistics.median(rounds) / (calls * steps),
        seconds_per_evaluation=statistics.median(evaluate() for _ in range(REPEATS)),
        seconds_compile=program.compile_s,
        memory=program.memory,
    )
