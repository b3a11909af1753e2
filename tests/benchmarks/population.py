"""Runs side by side against one after another, on one core of this machine.

    make bench-population      # into tests/benchmarks/results/population.txt

First 32 learning rates of a perceptron of about a thousand parameters, at four batch
sizes, through the whole worker with all that it writes, programs compiled before. All
see the same batches, which a population gathers once. What it saves besides is the
overhead of each operation: the larger the batch, the less of the time that is. Then six
shapes: the time of a step of one run, alone and in a population, and what `--population
auto` chooses by its short trial, against longer timings of both.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from statistics import median

from harness import (
    MLP,
    RNN,
    AdamW,
    Constant,
    RunSpec,
    TeacherStudent,
    Text,
    Transformer,
)
from harness.data.dataset import load
from harness.specs.run import DataSpec, ModelSpec
from harness.store import create_store
from harness.sweeps.options import TrainOptions, WorkerOptions
from harness.sweeps.plan import plan
from harness.sweeps.sweep import Point, product
from harness.training.program import compile_cohort
from harness.workers.population import WIDEST, fastest
from harness.workers.probe import probe, time_program
from harness.workers.worker import work
from tests.benchmarks.machine import machine

RATES = [1e-3 * 1.1**k for k in range(32)]
STEPS = 50_000
BATCHES = (4, 8, 16, 32)
ROUNDS = 3
NUMBERS = TeacherStudent(inputs=25, unique_examples=4096, eval_examples=256)
BYTES = Text(context=64)
SHAPES: list[tuple[str, ModelSpec, DataSpec, int]] = [
    ("mlp 0.7k", MLP(width=16), NUMBERS, 32),
    ("mlp 13k", MLP(width=100), NUMBERS, 32),
    ("mlp 151k", MLP(width=375), NUMBERS, 32),
    ("rnn 17k", RNN(width=32, cell="gru"), BYTES, 16),
    ("transformer 7k", Transformer(width=16, depth=1, heads=2), BYTES, 16),
    ("transformer 60k", Transformer(width=48, depth=2, heads=6), BYTES, 16),
]


def run_of(model: ModelSpec, source: DataSpec, batch: int, steps: int) -> RunSpec:
    """A run at a constant rate."""
    return RunSpec(
        model=model,
        data=source,
        optimizer=AdamW(lr=1e-3),
        schedule=Constant(),
        batch=batch,
        steps=steps,
    )


def rates(batch: int, width: int) -> float:
    """Seconds of a worker for all the rates, so many side by side."""
    run = run_of(*SHAPES[0][1:3], batch=batch, steps=STEPS)
    made = plan(product(run, {"optimizer.lr": RATES}))
    with tempfile.TemporaryDirectory() as folder:
        store = create_store(Path(folder) / "store")
        began = time.perf_counter()
        work(store, made, options=WorkerOptions(train=TrainOptions(population=width)))
        return time.perf_counter() - began


def shape(name: str, model: ModelSpec, source: DataSpec, batch: int) -> None:
    """One line of the second table."""
    (planned,) = plan([Point(run=run_of(model, source, batch, 100_000))]).runs
    run, dataset = planned.run, load(planned.run.data, 0)
    chosen = fastest(probe([run] * WIDEST, dataset)).population
    widths = [[run], [run] * WIDEST]
    programs = [compile_cohort(runs, dataset, TrainOptions()) for runs in widths]
    rounds = [
        [time_program(p, r) for p, r in zip(programs, widths, strict=True)]
        for _ in range(ROUNDS)
    ]
    alone, beside = (
        1e6 * median(t.seconds_per_run_step for t in column)
        for column in zip(*rounds, strict=True)
    )
    lost = (alone if chosen == 1 else beside) / min(alone, beside) - 1
    print(
        f"{name:<16} {alone:>9.1f} {beside:>9.1f} {alone / beside:>7.2f}   "
        f"{chosen:>4}  {lost:>5.1%}",
        flush=True,
    )


def main() -> None:
    """Prints both tables."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
    print(machine() + "; one core")
    print(f"32 rates of a perceptron of 705 parameters, {STEPS:,} steps: seconds")
    print("batch  one after another  side by side  median ratio")
    for batch in BATCHES:
        for width in (1, len(RATES)):
            rates(batch, width)
        pairs = [(rates(batch, 1), rates(batch, len(RATES))) for _ in range(3)]
        one, other = (median(column) for column in zip(*pairs, strict=True))
        ratio = median(one / other for one, other in pairs)
        print(f"{batch:>5} {one:>18.1f} {other:>13.1f} {ratio:>13.2f}", flush=True)
    print("shape           µs a step  in a population of 32  ratio  auto  loses")
    for each in SHAPES:
        shape(*each)


if __name__ == "__main__":
    main()
