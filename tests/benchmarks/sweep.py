"""The whole quick start against its 20 runs in PyTorch, from start to last loss.

    make bench-sweep      # into tests/benchmarks/results/sweep.txt

Ours is `harness run quickstart --no-report`, as a user starts it, with a cold and with
a warm compile cache. Theirs trains every run alone with the loop of `rival`: the same
models, data, order of batches, rates, steps and evaluations, as one process with a
thread per core, and as one pinned process per core with the runs dealt out by FLOPs.
Ours shares trunks, which the loop of most people does not: the ratio of the FLOPs, and
the gain without that share, are printed as well.
"""

from __future__ import annotations

import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.data.dataset import load
from harness.sweeps.plan import Plan, PlannedRun, plan
from harness.training.history import common_grid

ROOT = Path(__file__).parents[2]


def quickstart() -> Plan:
    """The plan of the experiment."""
    from experiments.quickstart import SWEEP

    return plan(SWEEP.points)


def share(made: Plan, part: int, of: int) -> list[PlannedRun]:
    """The runs of one of `of` processes: always the longest to the least loaded."""
    loads, dealt = [0] * of, [[] for _ in range(of)]
    for planned in sorted(made.runs, key=lambda r: -r.counts.flops_train):
        least = loads.index(min(loads))
        loads[least] += planned.counts.flops_train
        dealt[least].append(planned)
    return dealt[part]


def train_share(part: int, of: int, cores: list[int]) -> None:
    """Trains a share and prints the final losses."""
    os.sched_setaffinity(0, cores)
    import torch

    torch.set_num_threads(len(cores))
    for planned in share(quickstart(), part, of):
        loss = train(planned)
        print(f"{planned.run_id} {loss:.4f}", flush=True)


def train(planned: PlannedRun) -> float:
    """One run from start to end; its final held-out loss."""
    import torch

    from tests.benchmarks.rival import Shape, Trainer

    run, task = planned.run, planned.run.data.shape
    source = load(run.data, run.seed_data)
    torch.manual_seed(run.seed_init)
    model = run.model
    shape = Shape(width=model.width, depth=model.depth, heads=model.heads)
    corpus = torch.from_numpy(source.train["tokens"])
    decay = run.optimizer.weight_decay
    trainer = Trainer(shape, task.length, corpus, weight_decay=decay)
    held_out = torch.from_numpy(source.held_out["tokens"]).unfold(
        0, task.length + 1, 1
    )[torch.from_numpy(source.eval_offsets)]
    examples = source.order(run.seed_order, run.batch, 0, run.steps)
    offsets_SB = torch.from_numpy(source.locate(examples))
    grid = {*common_grid(run.steps, run.evals_per_octave), run.steps}
    losses, found = [], (math.nan, math.nan)
    for step in range(run.steps):
        losses.append(trainer.step(offsets_SB[step], rate(planned, step)))
        if step + 1 in grid:
            found = trainer.evaluate(held_out)
            torch.stack(losses).tolist()
            losses.clear()
    return found[0]


def rate(planned: PlannedRun, step: int) -> float:
    """Warm-up, constant, square-root cooldown."""
    run, schedule = planned.run, planned.run.schedule
    start = planned.branch_step
    warm = min(1.0, (step + 1) / max(1, schedule.warmup))
    progress = min(1.0, max(0.0, (step - start) / max(1, run.steps - start)))
    return run.optimizer.lr * warm * (1 - (1 - schedule.final) * math.sqrt(progress))


def seconds_of_ours(cache: Path) -> float:
    """Of the command, with this compile cache."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        subprocess.run(
            [
                *(sys.executable, "-m", "harness", "run", "quickstart"),
                *("--no-report", "--out", f"{folder}/store"),
            ],
            cwd=ROOT,
            env={**os.environ, "XDG_CACHE_HOME": str(cache)},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        return time.perf_counter() - began


def seconds_of_theirs(groups: list[list[int]]) -> tuple[float, float]:
    """Of processes on these groups of cores; and the mean of the final losses."""
    began = time.perf_counter()
    started = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.benchmarks.sweep"),
                *(str(k), str(len(groups)), ",".join(map(str, cores))),
            ],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": str(len(cores))},
            stdout=subprocess.PIPE,
            text=True,
        )
        for k, cores in enumerate(groups)
    ]
    told = [process.communicate()[0] for process in started]
    spent = time.perf_counter() - began
    losses = [float(line.split()[1]) for out in told for line in out.splitlines()]
    assert len(losses) == len(quickstart().runs), "a contender has failed"
    return spent, statistics.mean(losses)


def main(rounds: int) -> None:
    """Prints a line per round, and the ratios."""
    import torch

    from tests.benchmarks.machine import machine

    cores = sorted(os.sched_getaffinity(0))
    made = quickstart()
    print(f"{machine()}; torch {torch.__version__}")
    print("seconds:      ours cold  ours warm  theirs threads  theirs pinned")
    cache = Path(tempfile.mkdtemp())
    rows = []
    for _ in range(rounds):
        shutil.rmtree(cache)
        cold, warm = seconds_of_ours(cache), seconds_of_ours(cache)
        threads, loss = seconds_of_theirs([cores])
        pinned, _ = seconds_of_theirs([[core] for core in cores])
        rows.append((cold, warm, threads, pinned))
        form = "{:>23.0f}{:>11.0f}{:>16.0f}{:>15.0f}   their mean final loss {:.3f}"
        print(form.format(*rows[-1], loss), flush=True)
    cold, warm, threads, pinned = map(statistics.median, zip(*rows, strict=True))
    best = min(threads, pinned)
    shared = made.flops_alone / made.flops
    print(f"best of theirs over ours: warm {best / warm:.2f}, cold {best / cold:.2f}")
    print(
        f"shared trunks save {shared:.2f} times the FLOPs; at equal FLOPs the warm "
        f"ratio is {best / warm / shared:.2f}"
    )


if __name__ == "__main__":
    if len(sys.argv) > 2:
        part, of, listed = sys.argv[1:]
        train_share(int(part), int(of), [int(core) for core in listed.split(",")])
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
