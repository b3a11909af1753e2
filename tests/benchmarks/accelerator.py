"""A large transformer, and many tiny ones side by side, on one accelerator.

    make bench-accelerator     # into tests/benchmarks/results/accelerator.txt

First a transformer of about 100 M parameters in bfloat16: tokens a second and model
FLOP/s, against a large matrix product's. Then 64 transformers of 40,000 parameters: a
step of one, alone and as a population. `--small` shrinks all of it to what a CPU can
do, to see that it runs; its figures mean nothing.
"""

from __future__ import annotations

import dataclasses
import sys
import time

import jax
import jax.numpy as jnp

from harness import AdamW, Constant, RunSpec, Text, Transformer
from harness.data.dataset import load
from harness.specs.count import train_flops_per_step
from harness.sweeps.options import TrainOptions
from harness.sweeps.plan import plan
from harness.sweeps.sweep import Point, product
from harness.training import device
from harness.training.program import compile_cohort
from harness.workers.probe import time_program
from tests.benchmarks.machine import machine

LARGE = RunSpec(
    model=Transformer(width=768, depth=14, heads=12),
    data=Text(context=1024),
    optimizer=AdamW(lr=1e-4),
    schedule=Constant(),
    batch=32,
    steps=100_000,
    precision="bfloat16",
)
TINY = dataclasses.replace(
    LARGE,
    model=Transformer(width=32, depth=2, heads=2),
    data=Text(context=128),
    batch=16,
)
MEMBERS, SIDE, PRODUCTS = 64, 8192, 64


def product_rate(side: int) -> float:
    """FLOP/s of square bfloat16 products, one after another in one call."""
    a = jnp.full((side, side), 1 / side, jnp.bfloat16)

    @jax.jit
    def chain(a: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, PRODUCTS, lambda _, b: a @ b, a)

    def seconds() -> float:
        begun = time.perf_counter()
        chain(a).block_until_ready()
        return time.perf_counter() - begun

    return 2 * side**3 * PRODUCTS / min(seconds() for _ in range(5))


def seconds_per_step(runs: list[RunSpec]) -> float:
    """Of each of these runs, trained side by side."""
    planned = [p.run for p in plan([Point(run=run) for run in runs]).runs]
    program = compile_cohort(planned, load(planned[0].data, 0), TrainOptions())
    return time_program(program, planned).seconds_per_run_step


def large(run: RunSpec, rate: float) -> None:
    """Prints its speed against that of products."""
    parameters = run.model.params(run.data.shape).total
    spent = seconds_per_step([run])
    flops = train_flops_per_step(run) / spent
    print(
        f"{parameters / 1e6:.0f} M parameters: {run.tokens_per_step / spent:,.0f} "
        f"tokens/s, {flops / 1e12:.1f} TFLOP/s, {flops / rate:.0%} of products"
    )
    if share := device.mfu(flops, run.precision):
        print(f"  {share:.0%} of the data sheet's peak")


def tiny(run: RunSpec, members: int) -> None:
    """Prints what a population of them gains."""
    rates = [1e-4 * 1.05**k for k in range(members)]
    runs = [point.run for point in product(run, {"optimizer.lr": rates})]
    alone, beside = seconds_per_step(runs[:1]), seconds_per_step(runs)
    print(
        f"{members} of {run.model.params(run.data.shape).total:,} parameters: "
        f"{1e6 * alone:.0f} µs a step alone, {1e6 * beside:.1f} side by side: "
        f"{alone / beside:.1f} times faster"
    )


def main(*, small: bool) -> None:
    """Prints the figures."""
    device.enable_compile_cache()
    print(f"{machine()}; {jax.devices()[0].device_kind}")
    rate = product_rate(512 if small else SIDE)
    print(f"bfloat16 products: {rate / 1e12:.1f} TFLOP/s")
    shrunk = dataclasses.replace(LARGE, model=TINY.model, data=TINY.data, batch=4)
    large(shrunk if small else LARGE, rate)
    tiny(TINY, 4 if small else MEMBERS)


if __name__ == "__main__":
    main(small="--small" in sys.argv[1:])
