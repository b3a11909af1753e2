"""What safety costs: a thousand trivial runs, and checkpoints of a one-minute run.

    make bench-overhead      # into tests/benchmarks/results/overhead.txt

What checkpoints cost is measured apart, as CPU time of saves while nothing else runs:
whole runs with and without them differ by more from one time to the next.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from array import array
from pathlib import Path
from statistics import median

from harness import MLP, WSD, AdamW, RunSpec, TeacherStudent, Text, Transformer
from harness.data.dataset import load
from harness.store import create_store
from harness.sweeps.options import TrainOptions, WorkerOptions
from harness.sweeps.plan import Plan, plan
from harness.sweeps.sweep import Point
from harness.training.history import History
from harness.training.program import compile_cohort
from harness.training.snapshot import Snapshot
from harness.workers.checkpoint import Checkpoints
from harness.workers.worker import Listener, work
from tests.benchmarks.machine import machine


def trivial_runs(count: int) -> Plan:
    """Perceptrons of 705 parameters, ten steps each, that differ in their seed."""
    base = RunSpec(
        model=MLP(width=16),
        data=TeacherStudent(inputs=25, unique_examples=1024, eval_examples=64),
        optimizer=AdamW(lr=1e-2),
        schedule=WSD(),
        batch=32,
        steps=10,
    )
    runs = [dataclasses.replace(base, seed_init=seed) for seed in range(count)]
    return plan([Point(run=run) for run in runs])


def minute_run(steps: int) -> Plan:
    """A transformer of 74k parameters."""
    run = RunSpec(
        model=Transformer(width=64, depth=1, heads=4),
        data=Text(context=64),
        optimizer=AdamW(lr=3e-3),
        schedule=WSD(warmup=10),
        batch=16,
        steps=steps,
    )
    return plan([Point(run=run)])


def trained(made: Plan, **options: float) -> tuple[float, float, list[float]]:
    """Wall and CPU seconds of a worker, and when each run was finished."""
    ends: list[float] = []
    listener = Listener(finished=lambda *_: ends.append(time.perf_counter()))
    with tempfile.TemporaryDirectory() as folder:
        store = create_store(Path(folder) / "store")
        wall, cpu = time.perf_counter(), time.process_time()
        alone = WorkerOptions(train=TrainOptions(population=1), **options)  # type: ignore[arg-type]
        work(store, made, listener, alone)
        ends = [end - wall for end in ends]
        return time.perf_counter() - wall, time.process_time() - cpu, ends


def standing_still() -> list[float]:
    """Seconds that each save held training up; filled while a worker runs."""
    found: list[float] = []
    plain = Checkpoints.save

    def timed(self: Checkpoints, *given: object) -> None:
        began = time.perf_counter()
        plain(self, *given)  # type: ignore[arg-type]
        found.append(time.perf_counter() - began)

    Checkpoints.save = timed  # type: ignore[method-assign, assignment]
    return found


def cost_of_saving(made: Plan) -> list[float]:
    """CPU seconds of each of five saves of the run's state, while nothing else runs."""
    (planned,) = made.runs
    program = compile_cohort([planned.run], load(planned.run.data, 0), TrainOptions())
    position = Snapshot(
        state=program.start([planned.run]),
        step=1,
        histories=[History(losses=array("f", [1.0]))],
    )
    found = []
    with tempfile.TemporaryDirectory() as folder:
        store = create_store(Path(folder) / "store")
        kept = Checkpoints(
            store,
            [planned.trunk_id],
            publish_rows=lambda *_: None,
            check=lambda: None,
            warn=print,
            every_s=0,
        )
        for _ in range(5):
            began = time.process_time()
            kept.save([planned], "trunk", position)
            kept.wait()
            found.append(time.process_time() - began)
            position = dataclasses.replace(position, step=position.step + 1)
        kept.close()
    return found


def main() -> None:
    """Prints the figures."""
    # As the local engine's workers are: one core, one thread.
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
    print(machine())
    first, *others = cost_of_saving(minute_run(100))
    print(f"CPU time of a checkpoint: {first:.2f} s the first, {median(others):.2f} s")
    print("  each further one; a run of a minute has one or two")
    made = trivial_runs(1000)
    params = made.runs[0].counts.n_total
    wall, cpu, ends = trained(made)
    print(f"1000 runs of {params} parameters, 10 steps: {wall:.1f} s, CPU {cpu:.1f} s")
    print(f"  the last 500 of them: {1000 * (ends[-1] - ends[499]) / 500:.1f} ms a run")
    # The second time nothing is compiled.
    walls = [trained(minute_run(steps))[0] for steps in (400, 400, 1200)]
    steps = round(800 * 60 / (walls[2] - walls[1]))
    held = standing_still()
    wall, cpu, _ = trained(minute_run(steps))
    saving = first + (len(held) - 1) * median(others)
    print(f"one run of {steps} steps: {wall:.1f} s, CPU {cpu:.1f} s")
    print(f"  {len(held)} checkpoints, each holds training up for {max(held):.4f} s;")
    print(f"  their CPU time in the background is {saving / cpu:.2%} of the run's")


if __name__ == "__main__":
    main()
