"""One contender of `steps`: a process on given cores that trains in short bursts.

    python -m tests.benchmarks.burst ours|theirs CORES

It reads the number of a case, or `peak`, per line and answers with tokens per second,
or with the FLOP/s of a large float32 product.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

BURST_S = 0.5
CASES = [
    # width, depth, heads, T: the quick start's models, then larger ones.
    (16, 1, 2, 64),
    (24, 1, 3, 64),
    (32, 1, 4, 64),
    (40, 1, 5, 64),
    (48, 2, 6, 64),
    (32, 2, 2, 128),
    (64, 4, 4, 128),
    (256, 4, 4, 128),
]
BATCH = 16
PEAK_SIDE = 2048

Advance = Callable[[int], Any]
"""Trains so many steps and waits for them."""


def ours(case: int) -> Advance:
    """The harness's own chunks, with the host's work for each of them."""
    import jax

    from harness.data.dataset import load
    from harness.sweeps.options import TrainOptions
    from harness.sweeps.plan import plan
    from harness.sweeps.sweep import Point
    from harness.training import device
    from harness.training.program import compile_cohort

    device.enable_compile_cache()
    run = plan([Point(run=run_of(case))]).runs[0].run
    program = compile_cohort([run], load(run.data, run.seed_data), TrainOptions())
    state, step = program.start([run]), 0

    def advance(steps: int) -> None:
        nonlocal state, step
        end, losses = step + steps, []
        while step < end:
            stop = min(end, step + program.chunk)
            state, chunk = program.train(state, [run], step, stop)
            losses.append(chunk)
            step = stop
        jax.device_get(losses)

    return advance


def run_of(case: int) -> Any:
    """A run of endless length."""
    from harness import WSD, AdamW, RunSpec, Text, Transformer

    width, depth, heads, T = CASES[case]
    return RunSpec(
        model=Transformer(width=width, depth=depth, heads=heads),
        data=Text(context=T),
        optimizer=AdamW(lr=1e-3, weight_decay=0.1),
        schedule=WSD(),
        batch=BATCH,
        steps=10**6,
    )


def theirs(case: int) -> Advance:
    """The PyTorch loop; nothing waits for a loss."""
    import torch

    from tests.benchmarks.rival import Shape, Trainer

    width, depth, heads, T = CASES[case]
    corpus = torch.randint(0, 256, (2_000_000,), dtype=torch.uint8)
    shape = Shape(width=width, depth=depth, heads=heads)
    trainer = Trainer(shape, T, corpus)

    def advance(steps: int) -> None:
        offsets_SB = torch.randint(0, len(corpus) - T, (steps, BATCH))
        losses = [trainer.step(offsets_B, 1e-3) for offsets_B in offsets_SB]
        torch.stack(losses).tolist()

    return advance


def tokens_per_second(advance: Advance, tokens: int) -> float:
    """Of a burst of about `BURST_S`, found in ever longer ones."""
    steps, spent = 1, 0.0
    while spent < BURST_S / 2:
        steps = max(steps, min(16 * steps, round(steps * BURST_S / (spent or 1e-9))))
        begun = time.perf_counter()
        advance(steps)
        spent = time.perf_counter() - begun
    return steps * tokens / spent


def our_peak() -> float:
    """FLOP/s of a large product in jax."""
    import jax
    import jax.numpy as jnp

    a = jnp.ones((PEAK_SIDE, PEAK_SIDE), jnp.float32)
    product = jax.jit(lambda a: a @ a)
    return _best(lambda: product(a).block_until_ready())


def their_peak() -> float:
    """FLOP/s of a large product in PyTorch."""
    import torch

    a = torch.ones(PEAK_SIDE, PEAK_SIDE)
    return _best(lambda: a @ a)


def _best(product: Callable[[], Any]) -> float:
    def seconds() -> float:
        begun = time.perf_counter()
        product()
        return time.perf_counter() - begun

    return 2 * PEAK_SIDE**3 / min(seconds() for _ in range(6))


def serve(side: str, cores: list[int]) -> None:
    """Answers until its input ends."""
    os.sched_setaffinity(0, cores)
    make, peak = {"ours": (ours, our_peak), "theirs": (theirs, their_peak)}[side]
    if side == "theirs":
        import torch

        torch.set_num_threads(len(cores))
    ready: dict[int, Advance] = {}
    for line in sys.stdin:
        word = line.strip()
        if word == "peak":
            print(peak(), flush=True)
            continue
        case = int(word)
        if case not in ready:
            # Compiled and warmed up by a burst that nobody reads.
            ready[case] = make(case)
            tokens_per_second(ready[case], 1)
        tokens = BATCH * CASES[case][3]
        print(tokens_per_second(ready[case], tokens), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], [int(core) for core in sys.argv[2].split(",")])
