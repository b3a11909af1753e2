"""Writes docs/speed.md from the tables of the benchmarks.

python -m tests.benchmarks.page     (after any `make bench-…`)
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "tests" / "benchmarks" / "results"
PAGE = ROOT / "docs" / "speed.md"

HEAD = """# Speed

What takes how long, and against which rival. Each table is what its command printed,
with the machine, its load and the day; `python -m tests.benchmarks.page` writes this
page from them. Sides of a comparison take turns within one run, so quote ratios and not
times: machines are shared, and processors differ by a factor of three.
"""

SECTIONS = [
    (
        "Steps of transformers on CPU cores",
        "Tokens a second of the harness's loop, host work included, beside a plain "
        "PyTorch loop (eager, fused optimiser and attention), each in its better "
        "placement.",
        "steps",
        "bench-steps",
    ),
    (
        "The quick start, whole",
        "The command as a process, with nothing compiled before and with all programs "
        "in the cache, beside the same runs in PyTorch.",
        "sweep",
        "bench-sweep",
    ),
    (
        "A GPU",
        "A transformer of 100 M parameters in bfloat16 beside the rate of large "
        "matrix products, and 64 tiny ones trained side by side.",
        "accelerator",
        "bench-accelerator",
    ),
    (
        "Runs side by side",
        "32 learning rates of a small perceptron as a population, beside one after "
        "another, on one core.",
        "population",
        "bench-population",
    ),
    (
        "Every family",
        "Model FLOP/s of a training step, as a share of the matmul peak.",
        "families",
        "bench-families",
    ),
    (
        "Sampling",
        "Tokens a second of one sequence: from the cache of keys and values or states, "
        "beside a whole forward pass for each token.",
        "sampling",
        "bench-sampling",
    ),
    (
        "What safety costs",
        "A thousand trivial runs with all their files, and the checkpoints of a longer "
        "one.",
        "overhead",
        "bench-overhead",
    ),
    ("Memory of a long sweep", "10,000 runs in one worker.", "memory", "bench-memory"),
    (
        "What `plan --probe` says",
        "The forecast beside what the sweep then took.",
        "forecast",
        "bench-forecast",
    ),
    (
        "A first fit, as a process",
        "Nothing compiled before, beside the imports alone and beside a careful SciPy "
        "script (analytic gradients, 81 starts, 1,000 refits); and the certified fit "
        "of many rows.",
        "cold",
        "bench-cold",
    ),
    (
        "Packs",
        "Finished runs in small files and in packs: seconds of each step, of the whole "
        "process, and its memory.",
        "packs",
        "bench-packs",
    ),
    (
        "Fits",
        "A certified global fit and its bootstrap on the 240 rows of Besiroglu et al. "
        "2024, beside scipy.",
        "fit-speed",
        "bench-fit",
    ),
    (
        "Learning curves",
        "72 curves of Alabdulmohsin et al. 2022, five laws each.",
        "fit-vision",
        "bench-fit",
    ),
    (
        "This version beside the one before",
        "Seconds of both in turns on one machine.",
        "versions",
        "bench-versions OTHER=path/to/a/checkout",
    ),
]


def page() -> str:
    """The text of the page."""
    sections = [
        f"\n## {title}\n\n{text} `make {command}`:\n\n```\n{_table(name)}```\n"
        for title, text, name, command in SECTIONS
    ]
    return HEAD + "".join(sections)


def _table(name: str) -> str:
    return (RESULTS / f"{name}.txt").read_text()


if __name__ == "__main__":
    PAGE.write_text(page())
