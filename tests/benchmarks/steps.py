"""Training on CPU cores against a plain PyTorch loop: tokens per second of a step.

    python -m tests.benchmarks.steps [ROUNDS]    (`make bench-steps` keeps its table)

Each side is measured as one process with a thread per core, and as one pinned process
per core, their rates summed; its better placement counts. All processes stay alive and
train in bursts of half a second, one placement after the other, round by round, so
that what else the machine does meets all alike. Ours is the harness's loop with its
host work, theirs is `rival`. Model FLOP/s count full attention on both sides; the peak
is the best float32 product of 2048 × 2048 that either library reached in the same
round, as the speed of a shared machine drifts.
"""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence

from tests.benchmarks.burst import CASES, run_of

SIDES = ("ours", "theirs")


class Contender:
    """Processes of one side, on groups of cores, that train at the same time."""

    def __init__(self, side: str, groups: Sequence[Sequence[int]]) -> None:
        self.processes = [_start(side, cores) for cores in groups]

    def rate(self, word: str) -> float:
        """The sum of what the processes answer to a case's number or `peak`."""
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write(f"{word}\n")
            process.stdin.flush()
        return sum(float(_answer(process)) for process in self.processes)


def _start(side: str, cores: Sequence[int]) -> subprocess.Popen[str]:
    listed = ",".join(map(str, cores))
    return subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.burst", side, listed],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(len(cores))},
    )


def _answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    if not (line := process.stdout.readline()):
        raise RuntimeError("a contender has ended; its error stands above")
    return line


Rates = dict[tuple[str, str, str], list[float]]
"""By side, placement and word."""


def measure(rounds: int) -> Rates:
    """Rounds in which the contenders take turns; the first, cold one is not kept."""
    cores = sorted(os.sched_getaffinity(0))
    placements = {"threads": [cores], "pinned": [[core] for core in cores]}
    contenders = {
        (side, place): Contender(side, groups)
        for place, groups in placements.items()
        for side in SIDES
    }
    found: Rates = defaultdict(list)
    words = [*map(str, range(len(CASES))), "peak"]
    for turn in range(rounds + 1):
        for word in words:
            for (side, place), contender in contenders.items():
                rate = contender.rate(word)
                if turn:
                    found[side, place, word].append(rate)
    return found


def table(found: Rates) -> list[str]:
    """Medians and spreads (half of largest less least, of the median)."""
    peaks = [
        max(rates)
        for rates in zip(
            *(x for (_, _, word), x in found.items() if word == "peak"), strict=True
        )
    ]
    lines = [
        f"float32 matmul peak {statistics.median(peaks) / 1e9:.0f} GFLOP/s; tokens per "
        "second",
        f"{'width x depth, heads, T':<24}"
        + "".join(f"{side:>10}{'':<17}{'GFLOP/s':>8}{'peak':>6}" for side in SIDES)
        + f"{'ratio':>7}",
    ]
    ratios = []
    for case, (width, depth, heads, T) in enumerate(CASES):
        run = run_of(case)
        flops = run.model.forward_flops(run.data.shape).train() / T
        line = f"{f'{width} x {depth}, {heads}, {T}':<24}"
        for side in SIDES:
            place, rates = _best(found, side, str(case))
            median = statistics.median(rates)
            spread = (max(rates) - min(rates)) / 2 / median
            share = statistics.median(
                rate * flops / peak for rate, peak in zip(rates, peaks, strict=True)
            )
            line += (
                f"{median:>10,.0f} ±{spread:>4.0%} {place:<9} "
                f"{median * flops / 1e9:>8.1f}{share:>6.0%}"
            )
        # Round by round, for the same reason.
        ratios.append(_ratio(found, str(case)))
        lines.append(f"{line}{ratios[-1]:>7.2f}")
    mean = math.exp(statistics.fmean(map(math.log, ratios)))
    return [*lines, f"geometric mean of the ratios {mean:.2f}, least {min(ratios):.2f}"]


def _ratio(found: Rates, word: str) -> float:
    (_, ours), (_, theirs) = (_best(found, side, word) for side in SIDES)
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def _best(found: Rates, side: str, word: str) -> tuple[str, list[float]]:
    return max(
        ((place, found[side, place, word]) for place in ("threads", "pinned")),
        key=lambda entry: statistics.median(entry[1]),
    )


if __name__ == "__main__":
    import torch

    from tests.benchmarks.machine import machine

    print(f"{machine()}; torch {torch.__version__}")
    print("\n".join(table(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 5))))
