"""A whole sweep beside a tracker that hangs, against the same sweep without one.

    python -m tests.benchmarks.trackers [ROUNDS]

The package that the tracker needs is replaced by one that sleeps for ever. Both are
whole processes, in turns. What the last pass waits for at the sweep's end is cut to a
second: it is a constant, and no part of training.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.training.device import describe

EXPERIMENT = '''"""Does a tracker matter?"""
from harness import MLP, WSD, AdamW, RunSpec, Sweep, TeacherStudent, product
BASE = RunSpec(
    model=MLP(width=64), batch=64, optimizer=AdamW(lr=0.01), schedule=WSD(),
    data=TeacherStudent(inputs=16, unique_examples=4096, eval_examples=512),
)
SWEEP = Sweep(product(BASE, {"seed_init": range(6), "steps": [4000, 20000]}))
'''
PATIENCE = "import harness.trackers.processes as p; p.LAST_PASS_S = 1.0\n"


def seconds_of_training(folder: Path, *arguments: str) -> float:
    """Seconds that all runs of a sweep were trained for, by its table."""
    import pandas as pd

    store = folder / f"results-{time.monotonic_ns()}"
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "harness", "run", "mine.py", "--no-report"]
    subprocess.run(
        [*command, "--out", str(store), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{root}"},
        check=True,
        capture_output=True,
    )
    return float(pd.read_parquet(store / "runs.parquet")["seconds_train"].sum())


def main() -> None:
    """Prints the ratio of the medians."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    folder = Path(tempfile.mkdtemp())
    (folder / "mine.py").write_text(EXPERIMENT)
    (folder / "tensorboard").mkdir()
    hangs = "import time\ntime.sleep(10**6)\n"
    (folder / "tensorboard" / "__init__.py").write_text(hangs)
    (folder / "sitecustomize.py").write_text(PATIENCE)
    seconds_of_training(folder)
    alone, beside = [], []
    for _ in range(rounds):
        alone.append(seconds_of_training(folder))
        beside.append(seconds_of_training(folder, "--track", "tensorboard:board"))
    ratio = statistics.median(beside) / statistics.median(alone)
    print(f"{describe()['device']}, {os.cpu_count()} cores, {rounds} rounds in turns")
    print(f"training alone, median   {statistics.median(alone):.2f} s")
    print(f"beside a hanging tracker {statistics.median(beside):.2f} s")
    print(f"ratio                    {ratio:.3f}")


if __name__ == "__main__":
    main()
