"""This checkout against another one of the project, in turns on one machine.

    python -m tests.benchmarks.versions OTHER steps|commands [ROUNDS]

OTHER is the path of a checkout.

What is compared: steps of the transformers of `burst` on one core, the quick start as
a command with its programs compiled before, a thousand trivial runs in one worker, and
4,000 bootstrap refits of a law to 240 rows, compiled. Both sides take turns, so that
what else the machine does meets both alike; the ratios are medians over the rounds.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.burst import CASES
from tests.benchmarks.machine import machine

HERE = Path(__file__).parents[2]
TRIVIAL = """
from tests.benchmarks.overhead import trained, trivial_runs
print(trained(trivial_runs(1000))[1])
"""
REFITS = """
import time
from analysis.published.chinchilla import bootstrap_constants
for _ in range(2):
    began = time.perf_counter()
    bootstrap_constants(4000)
    spent = time.perf_counter() - began
print(spent)
"""


class Checkout:
    """A copy of the project whose code the same interpreter runs."""

    def __init__(self, root: Path, cache: Path) -> None:
        self.root = root
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(root),
            "XDG_CACHE_HOME": str(cache),
        }
        self.bursts = self._start("-m", "tests.benchmarks.burst", "ours", _last_core())

    def steps(self, case: int) -> float:
        """Seconds per million tokens of a case."""
        assert self.bursts.stdin and self.bursts.stdout
        self.bursts.stdin.write(f"{case}\n")
        self.bursts.stdin.flush()
        return 1e6 / float(self.bursts.stdout.readline())

    def quick_start(self) -> float:
        """Seconds of the command without its report."""
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            command = ("run", "quickstart", "--no-report", "--out", f"{folder}/store")
            self._run("-m", "harness", *command)
            return time.perf_counter() - began

    def printed(self, code: str) -> float:
        """The number that a program prints last, on one core."""
        pin = f"import os; os.sched_setaffinity(0, [{_last_core()}])\n"
        return float(self._run("-c", pin + code).split()[-1])

    def _run(self, *arguments: str) -> str:
        process = self._start(*arguments)
        out, _ = process.communicate()
        if process.returncode:
            raise RuntimeError(f"{self.root}: {' '.join(arguments)} has failed")
        return out

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


def _last_core() -> str:
    return str(max(os.sched_getaffinity(0)))


def compare(
    name: str,
    seconds: Callable[[Checkout], float],
    sides: tuple[Checkout, Checkout],
    rounds: int,
) -> None:
    """Prints medians of both sides, and the median of this one's over the other's."""
    pairs = [[seconds(side) for side in sides] for _ in range(rounds + 1)][1:]
    ours, theirs = map(statistics.median, zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"{name:<44} {ours:>9.3g} {theirs:>9.3g} {ratio:>7.3f}", flush=True)


def steps(sides: tuple[Checkout, Checkout], rounds: int) -> None:
    """Prints a line for each of the transformers."""
    for case, (width, depth, heads, T) in enumerate(CASES):
        label = f"1 M tokens, {width} x {depth}, {heads} heads, T {T}"
        compare(label, lambda side, c=case: side.steps(c), sides, rounds)


def commands(sides: tuple[Checkout, Checkout], rounds: int) -> None:
    """Prints a line for each whole process."""
    compare("the quick start, compiled before", Checkout.quick_start, sides, rounds)
    compare(
        "1,000 trivial runs, CPU seconds", lambda s: s.printed(TRIVIAL), sides, rounds
    )
    compare("4,000 bootstrap refits", lambda s: s.printed(REFITS), sides, rounds)


PARTS = {"steps": steps, "commands": commands}


def main(other: Path, part: str, rounds: int) -> None:
    """Prints a line per measurement; the first round of each is not counted."""
    print(machine())
    print(f"{'seconds':<44} {'this':>9} {'other':>9} {'ratio':>7}")
    with tempfile.TemporaryDirectory() as caches:
        roots = (HERE, other.resolve())
        this, that = (Checkout(r, Path(caches) / str(i)) for i, r in enumerate(roots))
        PARTS[part]((this, that), rounds)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if sys.argv[3:] else 5)
