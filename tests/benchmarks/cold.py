"""Whole processes from a cold start: a first fit, beside SciPy and beside the imports.

python -m tests.benchmarks.cold [rival]

The rival is the script that a careful researcher writes: BFGS with analytic gradients
from a grid of 81 starts, and 1,000 refits from the best point. Sides take turns.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import logsumexp

from tests.benchmarks.machine import machine

ROUNDS = 3
IMPORTS = "import jax, pandas, scipy"
SIZES = (240, 2_400, 24_000, 100_000, 1_000_000)
FIT = """
import sys, time
import analysis
from tests.benchmarks.peak import peak_mib
start = time.perf_counter()
table = analysis.read_table(sys.argv[1], n="n", d="d", loss="loss")
read = time.perf_counter()
fit = analysis.fit_law(table, "chinchilla")
print(read - start, time.perf_counter() - read, peak_mib(), fit.constants["alpha"])
"""


def made(rows: int) -> pd.DataFrame:
    """Rows of Hoffmann's law with noise of one percent."""
    rng = np.random.default_rng(0)
    n, d = np.exp(rng.uniform(14, 21, rows)), np.exp(rng.uniform(18, 25, rows))
    loss = 1.69 + 406.4 * n**-0.34 + 410.7 * d**-0.28
    return pd.DataFrame(
        {"n": n, "d": d, "loss": loss * np.exp(0.01 * rng.standard_normal(rows))}
    )


def rival(path: str) -> None:
    """The fit and its bootstrap by SciPy."""
    table = pd.read_csv(path)
    n, d, y = (np.log(table[c].to_numpy()) for c in ("n", "d", "loss"))

    def objective(
        theta: np.ndarray, rows: np.ndarray, delta: float = 1e-3
    ) -> tuple[float, np.ndarray]:
        a, b, e, alpha, beta = theta
        terms = np.stack(
            [a - alpha * n[rows], b - beta * d[rows], np.full(len(rows), e)]
        )
        total = logsumexp(terms, axis=0)
        share = np.exp(terms - total)
        r = total - y[rows]
        inside = np.abs(r) <= delta
        value = np.where(inside, r * r / 2, delta * (np.abs(r) - delta / 2)).sum()
        slope = np.where(inside, r, delta * np.sign(r))
        gradient = [
            slope @ share[0],
            slope @ share[1],
            slope @ share[2],
            slope @ (-n[rows] * share[0]),
            slope @ (-d[rows] * share[1]),
        ]
        return float(value), np.array(gradient)

    def solve(start: np.ndarray, rows: np.ndarray) -> tuple[float, np.ndarray]:
        found = minimize(
            objective,
            start,
            args=(rows,),
            jac=True,
            method="BFGS",
            options={"gtol": 1e-9},
        )
        return float(found.fun), found.x

    every = np.arange(len(table))
    starts = product([0, 10, 20], [0, 10, 20], [0.5], [0, 0.5, 1], [0, 0.5, 1])
    value, best = min(
        (solve(np.array(s, float), every) for s in starts), key=lambda found: found[0]
    )
    rng = np.random.default_rng(0)
    draws = [solve(best, rng.choice(every, len(every)))[1] for _ in range(1000)]
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    print(value, best, low, high)


def seconds(command: list[str]) -> float:
    """Seconds of a whole process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Prints medians of processes that take turns, and the time against rows."""
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.csv"
        made(20).to_csv(small, index=False)
        python = sys.executable
        harness = str(Path(python).parent / "harness")
        columns = ["--n", "n", "--d", "d", "--loss", "loss"]
        sides = {
            "imports of jax, pandas, scipy": [
                python,
                "-c",
                "import jax, pandas, scipy",
            ],
            "harness fit, 20 rows, 1,000 draws": [harness, "fit", str(small), *columns],
            "scipy script, the same": [
                *(python, "-m", "tests.benchmarks.cold", "rival", str(small))
            ],
        }
        spent: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(ROUNDS):
            for name, command in sides.items():
                spent[name].append(seconds(command))
        medians = {name: statistics.median(each) for name, each in spent.items()}
        for name, median in medians.items():
            print(f"{name}: {median:.2f} s")
        imports, ours, theirs = medians.values()
        print(
            f"the fit takes {ours / imports:.2f} times the imports alone, the script "
            f"{theirs / ours:.0f} times the fit"
        )
        for rows in SIZES:
            path = Path(folder) / "large.parquet"
            made(rows).to_parquet(path)
            told = subprocess.run(
                [python, "-c", FIT, str(path)],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            read, fit, peak, alpha = told.split()
            print(
                f"{rows:>9,} rows: read {float(read):.2f} s, certified fit "
                f"{float(fit):.2f} s, {peak} MiB, alpha {float(alpha):.4f}"
            )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        rival(sys.argv[2])
    else:
        main()
