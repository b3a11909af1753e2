"""Resident memory of one worker over ten thousand tiny runs.

make bench-memory      # into tests/benchmarks/results/memory.txt
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from harness.store import create_store
from harness.workers.worker import Listener, work
from tests.benchmarks.machine import machine
from tests.benchmarks.overhead import trivial_runs

RUNS = 10_000
SETTLED = 500
"""Runs after which nothing may grow any more."""


def resident() -> float:
    """MiB of this process that are in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    """Prints the resident size at some numbers of finished runs."""
    print(machine())
    seen: list[float] = []
    began = time.perf_counter()

    def finished(*_: object) -> None:
        seen.append(resident())
        if len(seen) in (1, 100, SETTLED) or not len(seen) % 1000:
            spent = time.perf_counter() - began
            print(f"{len(seen):>6} runs: {seen[-1]:.0f} MiB, {spent:.0f} s", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        store = create_store(Path(folder) / "store")
        work(store, trivial_runs(RUNS), Listener(finished=finished))
    growth = max(seen[SETTLED:]) / seen[SETTLED - 1] - 1
    print(f"largest after run {SETTLED}: {growth:+.1%}")


if __name__ == "__main__":
    main()
