"""Mutated tables and options through the commands about tables: never a traceback.

    python -m tests.analysis.fuzz [CASES] [SEED]

prints each case that ends in anything but success or one line for the user.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from typer.testing import CliRunner

from analysis.errors import AnalysisError
from harness.cli import app
from harness.errors import HarnessError
from tests.analysis import synthetic

Frame = pd.DataFrame
ODD = (0.0, -1.0, 1e308, 1e-308, np.nan, np.inf, -np.inf, 5e-324, 1e200)
TEXTS = (
    "",
    "nan",
    "1,5",
    "7B",
    "3%",
    "x",
    "None",
    "1e400",
    "\u221e",
    "\x1b[31m",
    "=1+1",
)
LAWS = (
    "chinchilla",
    "power --x n",
    "power_constant --x d",
    "kaplan",
    "additive:n,d",
    "chinchilla[E=1.5]",
    "chinchilla[alpha=beta]",
    "sigmoidal --x d",
    "coupled",
    "nonsense",
)


def cell(frame: Frame, rng: random.Random) -> Frame:
    """One number becomes an odd one."""
    row, column = rng.randrange(len(frame)), rng.choice(list(frame.columns))
    frame = frame.astype({column: object})
    frame.iloc[row, list(frame.columns).index(column)] = rng.choice(ODD + TEXTS)
    return frame


def constant(frame: Frame, rng: random.Random) -> Frame:
    """A column says the same in all rows."""
    return frame.assign(**{rng.choice(list(frame.columns)): rng.choice((*ODD, 7.0))})


def doubled(frame: Frame, rng: random.Random) -> Frame:
    """Some rows stand twice."""
    return pd.concat([frame, frame.head(rng.randint(1, 5))])


def short(frame: Frame, rng: random.Random) -> Frame:
    """Few rows are left."""
    return frame.head(rng.randint(0, 7))


def renamed(frame: Frame, rng: random.Random) -> Frame:
    """A column has another name."""
    names = ("loss ", "a b", "x/y", "n.d", "1", "", "é", "loss__MIN", "n n")
    return frame.rename(columns={rng.choice(list(frame.columns)): rng.choice(names)})


def scaled(frame: Frame, rng: random.Random) -> Frame:
    """A column is in other units, or turned around."""
    numbers = [c for c in frame.columns if pd.api.types.is_numeric_dtype(frame[c])]
    if not numbers:
        return frame
    name = rng.choice(numbers)
    power = rng.choice((1e-9, 1e9, -1.0, 1e150, 1e-150))
    return frame.assign(**{name: frame[name] * power})


def collinear(frame: Frame, rng: random.Random) -> Frame:
    """Tokens follow parameters, or all rows are one."""
    if "n" not in frame or not pd.api.types.is_numeric_dtype(frame["n"]):
        return frame
    return frame.assign(d=rng.choice((20 * frame["n"], frame["n"])))


def extra(frame: Frame, rng: random.Random) -> Frame:
    """Further columns: labels, lists, truths, steps of runs."""
    size = len(frame)
    choices: tuple[dict[str, object], ...] = (
        {"run": [f"r{k % 3}" for k in range(size)], "step": [7] * size},
        {"family": [rng.choice("ab") for _ in range(size)]},
        {"done": [k % 2 == 0 for k in range(size)]},
        {"seed": list(range(size))},
        {"kind": [None] * size},
    )
    return frame.assign(**rng.choice(choices))


MUTATIONS: tuple[Callable[[Frame, random.Random], Frame], ...] = (
    cell,
    constant,
    doubled,
    short,
    renamed,
    scaled,
    collinear,
    extra,
)
OPTIONS = (
    "--where|n > 1e8",
    "--where|loss < nan",
    "--where|n >",
    "--duplicates|drop",
    "--n|n * 1e9",
    "--n|log(n)",
    "--d|n - n",
    "--c|6 * n * d",
    "--loss|loss / 0",
    "--loss|loss ** 50",
)
FIT_OPTIONS = (
    "--objective|squares",
    "--space|linear",
    "--by|family",
    "--by|n",
    "--weights|n",
    "--group|d",
    "--run|run",
    "--units|seed",
    "--level|0.5",
    "--fix|E=1.6",
    "--bound|alpha=0:0",
    "--starts|1",
    "--delta|1e-9",
    "--pool",
)


def command(rng: random.Random, file: Path, record: Path) -> list[str]:
    """A command about the table, with options that may not suit it."""
    name = rng.choice(("fit", "fit", "fit", "approaches", "compare", "suggest", "tune"))
    words = [name, str(file)]
    for option in rng.sample(OPTIONS, rng.randint(0, 2)):
        words += option.split("|")
    if name == "fit":
        law, *rest = rng.choice(LAWS).split()
        words += ["--law", law, *rest, "--json", str(record)]
        for option in rng.sample(FIT_OPTIONS, rng.randint(0, 3)):
            words += option.split("|")
        words += ["--bootstrap", rng.choice(("0", "0", "20"))]
    elif name == "suggest":
        words += ["--budget", rng.choice(("1e22", "0", "-1", "nan", "1e300"))]
    elif name == "tune":
        words += ["--lr", rng.choice(("loss", "n", "lr"))]
    else:
        words += ["--bootstrap", "10"]
    return words


def question(rng: random.Random, record: Path) -> list[str]:
    """A question to a fit that may not know its answer."""
    asked = rng.choice(
        (
            ("--compute", "1e22"),
            ("--compute", "0"),
            ("--n", "1e9", "--d", "1e300"),
            ("--target-loss", "1.9"),
            ("--target-loss", "0.1", "--ratio", "20"),
            ("--x", "1e9"),
            ("--n", "seven"),
            (),
        )
    )
    return ["predict", str(record), *asked]


def complaint(words: list[str]) -> str:
    """What is wrong with how a command ended; "" for success or one line."""
    result = CliRunner().invoke(app, words)
    error = result.exception
    if error is None or isinstance(error, SystemExit):
        odd = [w for w in ("Warning:", "Traceback") if w in result.output]
        return f"prints {odd[0]}" if odd else ""
    if isinstance(error, AnalysisError | HarnessError):
        return "" if "\n" not in str(error) else f"lines: {error}"
    return f"{type(error).__name__}: {error}"


def campaign(cases: int, seed: int) -> list[str]:
    """The complaints of so many cases."""
    complaints = []
    with tempfile.TemporaryDirectory() as folder:
        for case in range(seed, seed + cases):
            rng = random.Random(case)
            frame = synthetic.frame(
                noise=rng.choice((0.0, 0.01)), sizes=rng.randint(2, 5), budgets=5
            )
            for mutate in rng.choices(MUTATIONS, k=rng.randint(0, 3)):
                if len(frame) and len(frame.columns):
                    frame = mutate(frame.reset_index(drop=True), rng)
            file, record = Path(folder, f"{case}.csv"), Path(folder, f"{case}.json")
            frame.to_csv(file, index=rng.random() < 0.2)
            words = command(rng, file, record)
            for asked in (words, question(rng, record) if record.exists() else []):
                start = time.monotonic()
                if asked and (wrong := complaint(asked)):
                    complaints.append(f"case {case}: {' '.join(asked)}: {wrong}")
                if time.monotonic() - start > 30:
                    complaints.append(f"case {case}: {' '.join(asked)}: slow")
            file.unlink()
            record.unlink(missing_ok=True)
    return complaints


def main(cases: str = "2000", seed: str = "0") -> None:
    """Print the complaints; exit code 1 if there are any."""
    found = campaign(int(cases), int(seed))
    print("\n".join(found) or f"{cases} cases, each one answered")
    raise SystemExit(bool(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
