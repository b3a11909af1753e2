"""Coverage of the 95 % intervals of every bootstrap, at a standard error of 0.7 %.

    python -m tests.benchmarks.coverage [--tables N] [--only WORDS] [--seed N]

1000 tables of 300 replicas each per line; `--only "isoFLOP curves"` runs the lines
whose name holds the words. Twenty minutes on 2 cores for all lines; the suite runs a
seeded part of it (`tests/analysis/test_coverage.py`).
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from analysis.fitting.options import Objective
from tests.analysis.coverage import (
    NAMES,
    SQUARES,
    Design,
    clustered,
    coverage,
    independent,
    isoflop,
    long_tailed,
    seeds,
    uneven,
)
from tests.benchmarks.machine import machine

REPLICAS = 300
HUBER = Objective(delta=1e-3)
LINES: tuple[tuple[Design, Objective], ...] = (
    *(
        (design, objective)
        for objective in (SQUARES, HUBER)
        for design in (
            independent(4),
            independent(6),
            independent(8),
            uneven(6),
            long_tailed(6),
            clustered(12),
            clustered(20),
            clustered(40),
            isoflop(6),
            isoflop(10),
            isoflop(16),
            seeds(5, 2),
            seeds(6, 3),
        )
    ),
    (independent(16), HUBER),
    (independent(8), Objective(delta=5e-3)),
    (independent(8), Objective(delta=1e-2)),
    (isoflop(10), Objective(delta=5e-3)),
)


def main(tables: int, only: str, seed: int) -> None:
    """Print one line per design and objective whose name holds `only`."""
    print(machine())
    print(f"{tables} tables, {REPLICAS} replicas; noise of ln loss 0.01; percent")
    print(f"{'design':44}{'objective':>14} mean " + " ".join(f"{k:>5}" for k in NAMES))
    started = time.perf_counter()
    for design, objective in LINES:
        how = "squares" if objective == SQUARES else f"Huber {objective.delta:g}"
        if only not in f"{design.name} {how}":
            continue
        found = 100 * coverage(
            design,
            tables=tables,
            replicas=REPLICAS,
            objective=objective,
            seed=seed,
        )
        cells = " ".join(f"{x:5.1f}" for x in found)
        print(f"{design.name:44}{how:>14} {np.mean(found):4.1f} {cells}", flush=True)
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=1000)
    parser.add_argument("--only", default="")
    parser.add_argument("--seed", type=int, default=0)
    main(**vars(parser.parse_args()))
