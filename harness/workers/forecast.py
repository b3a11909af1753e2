"""Forecasts of a sweep's time, from timings of its compiled programs (no jax)."""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Sequence

from harness.sweeps.plan import Cohort, Trunk
from harness.training.history import common_grid
from harness.workers.queue import rank

PUBLISH_S = 0.03
"""Seconds that a worker spends on a run besides training: its tables and record."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """The cost of training one cohort's runs on this device."""

    population: int
    seconds_per_step: float
    """Seconds of a step of all runs of the population together."""
    seconds_per_evaluation: float
    seconds_compile: float
    """Seconds of the first compilation; later ones find the program in the cache."""
    seconds_load: float = 0.0
    """Seconds that it takes to find the program in the cache."""
    memory: int
    """Bytes that the compiled program needs, its arguments included."""

    @property
    def seconds_per_run_step(self) -> float:
        """Seconds of a step, divided by the runs that take it together."""
        return self.seconds_per_step / self.population


def evaluations(trunk: Trunk) -> int:
    """The number of evaluations of a trunk's runs, shared ones counted once."""
    points = {0}
    branched = 0
    for planned in trunk.runs:
        grid = common_grid(planned.run.steps, planned.run.evals_per_octave)
        points |= {step for step in grid if step <= planned.branch_step}
        steps = {step for step in grid if step > planned.branch_step}
        branched += len(steps | {planned.run.steps})
    return len(points) - 1 + branched


def seconds_of(trunks: Sequence[Trunk], timing: Timing) -> float:
    """Seconds to train trunks of one shape, in populations of the timing's width."""
    total = sum(
        t.steps * timing.seconds_per_step
        + evaluations(t) * timing.seconds_per_evaluation
        for t in trunks
    )
    return total / timing.population + PUBLISH_S * sum(len(t.runs) for t in trunks)


def makespan(jobs: Sequence[tuple[Cohort, Timing]], workers: int) -> float:
    """Seconds until the last of so many workers is done, with programs in the cache.

    Workers take their trunks as `harness.workers.queue` ranks them.
    """
    jobs = sorted(jobs, key=lambda job: -job[0].flops)
    waiting = [sorted(cohort.trunks, key=lambda t: t.flops) for cohort, _ in jobs]
    begun: set[int] = set()
    free = [(0.0, worker, -1) for worker in range(workers)]
    end = 0.0
    while any(waiting):
        clock, worker, compiled = heapq.heappop(free)
        chosen = min(
            (index for index, trunks in enumerate(waiting) if trunks),
            key=lambda index: rank(is_own=index == compiled, is_begun=index in begun),
        )
        begun.add(chosen)
        trunks, timing = waiting[chosen], jobs[chosen][1]
        if chosen != compiled:
            clock += timing.seconds_load
        taken = [trunks.pop() for _ in range(min(timing.population, len(trunks)))]
        # A population that is not full takes no less time.
        clock += seconds_of(taken, timing) * timing.population / len(taken)
        end = max(end, clock)
        heapq.heappush(free, (clock, worker, chosen))
    return end
