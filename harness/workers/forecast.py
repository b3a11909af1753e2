"""What a sweep will take, from the timings of its compiled programs. Imports no jax."""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Sequence

from harness.sweeps.plan import Cohort, Trunk
from harness.training.history import common_grid

PUBLISH_S = 0.03
"""Seconds that a worker spends on a run besides training: its tables and record."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """What training one cohort's runs costs on this device."""

    population: int
    seconds_per_step: float
    """Of all runs of the population together."""
    seconds_per_evaluation: float
    seconds_compile: float
    """Of the first time; later ones find the program in the cache."""
    seconds_load: float = 0.0
    """Of finding it there."""
    memory: int
    """Bytes that the compiled program needs, its arguments included."""

    @property
    def seconds_per_run_step(self) -> float:
        """Of one run's step."""
        return self.seconds_per_step / self.population


def evaluations(trunk: Trunk) -> int:
    """How often a trunk's runs are evaluated, what they share counted once."""
    points = {0}
    branched = 0
    for planned in trunk.runs:
        grid = common_grid(planned.run.steps, planned.run.evals_per_octave)
        points |= {step for step in grid if step <= planned.branch_step}
        own = {step for step in grid if step > planned.branch_step}
        branched += len(own | {planned.run.steps})
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

    Workers take their trunks as `harness.workers.queue` hands them out: their own
    cohort first, then the longest that nobody has begun, then what is left of others.
    """
    jobs = sorted(jobs, key=lambda job: -job[0].flops)
    left = [sorted(cohort.trunks, key=lambda t: t.flops) for cohort, _ in jobs]
    begun: set[int] = set()
    free = [(0.0, worker, -1) for worker in range(workers)]
    end = 0.0
    while any(left):
        clock, worker, own = heapq.heappop(free)
        chosen = _next(left, begun, own)
        begun.add(chosen)
        trunks, timing = left[chosen], jobs[chosen][1]
        if chosen != own:
            clock += timing.seconds_load
        taken = [trunks.pop() for _ in range(min(timing.population, len(trunks)))]
        # A population that is not full takes no less time.
        clock += seconds_of(taken, timing) * timing.population / len(taken)
        end = max(end, clock)
        heapq.heappush(free, (clock, worker, chosen))
    return end


def _next(left: Sequence[Sequence[Trunk]], begun: set[int], own: int) -> int:
    open_ = [index for index, trunks in enumerate(left) if trunks]
    if own in open_:
        return own
    return next((index for index in open_ if index not in begun), open_[0])
