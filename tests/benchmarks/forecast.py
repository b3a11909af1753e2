"""What `harness plan --probe` says a sweep will take, against what it then takes.

    make bench-forecast      # into tests/benchmarks/results/forecast.txt

Estimates and sweeps take turns, each sweep into an empty folder without a report; all
programs are in the cache. Both are whole commands with as many workers as there are
cores.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from statistics import median

from tests.benchmarks.machine import machine

EXPERIMENTS = ("quickstart", "two_moons")
ROUNDS = 2


def harness(*arguments: str) -> str:
    """What a command prints. Raises if it fails."""
    command = [sys.executable, "-m", "harness", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def estimated(name: str, folder: str) -> float:
    """Seconds that the probe expects."""
    seen = json.loads(harness("plan", name, "--out", folder, "--probe", "--json"))
    return float(seen["probe"]["seconds"])


def taken(name: str, folder: str) -> float:
    """Seconds of the sweep."""
    began = time.perf_counter()
    harness("run", name, "--out", folder, "--no-report")
    return time.perf_counter() - began


def main() -> None:
    """Prints one line a round, and the median ratio of each experiment."""
    print(machine())
    print(f"{'experiment':<14}{'estimated':>11}{'taken':>9}{'ratio':>7}")
    for name in EXPERIMENTS:
        ratios = []
        for attempt in range(ROUNDS + 1):
            with tempfile.TemporaryDirectory() as folder:
                guess, took = estimated(name, folder), taken(name, folder)
            if not attempt:
                continue  # fills the cache of programs
            ratios.append(guess / took)
            print(f"{name:<14}{guess:>9.1f} s{took:>7.1f} s{ratios[-1]:>7.2f}")
        print(f"  median {median(ratios):.2f}", flush=True)


if __name__ == "__main__":
    main()
