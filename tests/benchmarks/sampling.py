"""Tokens per second drawn from language models, with a cache and by whole passes.

make bench-sampling      # into tests/benchmarks/results/sampling.txt

Both are compiled beforehand, and take turns; the median of the rounds counts.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable

import jax
import numpy as np

from harness import RNN, LinearRNN, Transformer, ZipfMarkov
from harness.export import sampling
from harness.families.build import build
from harness.specs.run import ModelSpec
from tests.benchmarks.machine import machine

CONTEXT, VOCAB, ROUNDS = 256, 256, 5
PROMPT = list(range(16))
CASES: dict[str, ModelSpec] = {
    "transformer 128 x 4": Transformer(width=128, depth=4, heads=4),
    "transformer 256 x 6, 2 key heads": Transformer(
        width=256, depth=6, heads=8, kv_heads=2
    ),
    "transformer 128 x 4, 8 experts": Transformer(
        width=128, depth=4, heads=4, experts=8
    ),
    "rnn 256 x 2": RNN(width=256, depth=2),
    "linear_rnn 128 x 4": LinearRNN(width=128, depth=4),
}


def rates(spec: ModelSpec) -> list[float]:
    """Tokens a second with the cache and without, over one window."""
    task = ZipfMarkov(vocab=VOCAB, context=CONTEXT).shape
    model = build(spec, task)
    params = jax.jit(model.init)(jax.random.key(0))
    choice = sampling.Choice(np.float32(1), np.int32(VOCAB), np.uint32(0))
    count = CONTEXT - len(PROMPT)

    def timed(sampler: sampling.Sampler, tokens: int) -> float:
        start = time.perf_counter()
        sampler.draw(params, PROMPT, tokens, choice)
        return tokens / (time.perf_counter() - start)

    uncached = dataclasses.replace(model, stepping=None)
    sides = [sampling.sampler(side, task) for side in (model, uncached)]
    for side in sides:
        timed(side, 2)
    rounds = [[timed(side, count) for side in sides] for _ in range(ROUNDS)]
    return [statistics.median(side) for side in zip(*rounds, strict=True)]


def main(show: Callable[[str], None] = print) -> None:
    """Prints a line for each model."""
    show(machine())
    show(f"{f'model, context {CONTEXT}':<34} {'cache':>8} {'passes':>8} {'ratio':>6}")
    for name, spec in CASES.items():
        cached, full = rates(spec)
        show(f"{name:<34} {cached:>8,.0f} {full:>8,.0f} {cached / full:>6.1f}")


if __name__ == "__main__":
    main()
