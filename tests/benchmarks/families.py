"""Training speed of every family on this machine, against its own matrix products.

    python -m tests.benchmarks.families    (`make bench-families` keeps its table)

Model FLOP/s are those of the counts (forward and backward, multiply-add = 2); the peak
is the best of a few float32 products of 2048×2048 matrices, measured after each case.
The first line names the machine and its load at the start.

Why the lowest shares are low: a mixture of experts computes `capacity` times the slots
that its model FLOPs count, and moves every token there and back; convolutions of few
channels are bound by memory (at 10, 20 and 40 channels, copies of pixels and the
gradient of pooling were about half of a step).
"""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from harness import CNN, MLP, RNN, AdamW, Constant, LinearRNN, ResNet, Transformer, ViT
from harness.families.build import build
from harness.families.layers.spec import read_outs
from harness.optimizers.update import hyper
from harness.specs.base import spec
from harness.specs.run import DataSpec, ModelSpec, RunSpec
from harness.specs.task import TaskShape
from harness.training import device
from harness.training.step import Batches, functions

BYTES = TaskShape(
    kind="tokens", length=128, inputs=256, outputs=256, target="next_token"
)
DIGITS = TaskShape(
    kind="images", length=1, inputs=1, outputs=10, target="class", size=(28, 28)
)
PHOTOS = TaskShape(
    kind="images", length=1, inputs=3, outputs=10, target="class", size=(32, 32)
)
TASKS = {"bytes": BYTES, "digits": DIGITS, "photos": PHOTOS}


@spec
class Shaped(DataSpec):
    """Data that are known by their shape alone."""

    source = "shaped"
    like: str

    @property
    def shape(self) -> TaskShape:
        return TASKS[self.like]


DECODER = {"width": 64, "depth": 4, "heads": 4}
CASES: list[tuple[str, ModelSpec, TaskShape, int]] = [
    ("mlp 784-512-10", MLP(width=512, depth=1), DIGITS, 128),
    (
        "cnn 32-64-64-64",
        CNN(channels=(32, 64, 64), pools=2, padding="valid", hidden=64),
        DIGITS,
        32,
    ),
    ("resnet 8 layers, width 16", ResNet(width=16), PHOTOS, 32),
    ("vit width 64", ViT(width=64, depth=4, heads=4), DIGITS, 32),
    ("transformer width 64", Transformer(**DECODER), BYTES, 16),
    (
        "transformer 4 experts, top 1",
        Transformer(**DECODER, experts=4, top_k=1),
        BYTES,
        16,
    ),
    ("linear_rnn width 64", LinearRNN(width=64, depth=4), BYTES, 16),
    ("rnn simple 256", RNN(width=256, cell="simple"), BYTES, 16),
    ("rnn gru 256", RNN(width=256, cell="gru"), BYTES, 16),
    ("rnn lstm 256", RNN(width=256, cell="lstm"), BYTES, 16),
]
STEPS = 16
REPEATS = 3


def matmul_peak() -> float:
    """FLOP/s of a large float32 product."""
    a = jnp.ones((2048, 2048), jnp.float32)
    product = jax.jit(lambda a: a @ a)
    return 2 * 2048**3 / min(_seconds(lambda: product(a)) for _ in range(5))


def step_seconds(model: ModelSpec, task: TaskShape, batch: int) -> float:
    """Seconds of a training step, in the loop that training runs."""
    rng = np.random.default_rng(0)
    data = {"x": _inputs(task, rng), "y": _targets(task, rng)}
    run = RunSpec(
        model=model,
        data=Shaped(like=next(k for k, v in TASKS.items() if v == task)),
        optimizer=AdamW(lr=1e-3),
        schedule=Constant(),
        batch=batch,
    )
    fns = functions(build(model, task), lambda d, at: (d["x"][at], d["y"][at]), run)
    state = jax.jit(fns.init)(jax.random.key(0), hyper(run))
    batches = Batches(
        rng.integers(0, len(data["x"]), (STEPS, batch)).astype(np.int32),
        np.full(STEPS, 1e-3, np.float32),
        first=np.int32(0),
        seed=np.uint32(0),
    )
    train = jax.jit(fns.train_chunk)
    chunk = lambda: train(state, hyper(run), data, batches, STEPS)  # noqa: E731
    jax.block_until_ready(chunk())
    return min(_seconds(chunk) for _ in range(REPEATS)) / STEPS


def _seconds(call: Callable[[], jax.Array]) -> float:
    jax.block_until_ready(call())
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def _inputs(task: TaskShape, rng: np.random.Generator) -> jax.Array:
    if task.kind == "tokens":
        return jnp.asarray(rng.integers(0, task.inputs, (64, task.length)), jnp.int32)
    return jnp.asarray(rng.random((64, *task.size, task.inputs)), jnp.float32)


def _targets(task: TaskShape, rng: np.random.Generator) -> jax.Array:
    shape = (64, task.length) if task.target == "next_token" else (64,)
    return jnp.asarray(rng.integers(0, task.outputs, shape), jnp.int32)


def table() -> Iterator[str]:
    """One line a case: step time, examples or tokens a second, model FLOP/s, share."""
    where = device.describe()
    yield (
        f"{datetime.date.today()}, {where['device']}, {where['cpu_cores']} cores, "
        f"jax {jax.__version__}, load at the start {os.getloadavg()[0]:.1f}"
    )
    yield (
        f"{'case':<30}{'n_matmul':>9}{'batch':>6}{'ms/step':>9}{'per s':>10}{'':<10}"
        f"{'GFLOP/s':>8}{'peak':>6}{'share':>7}"
    )
    for name, model, task, batch in CASES:
        seconds, peak = step_seconds(model, task, batch), matmul_peak()
        flops = batch * model.forward_flops(task).train() / seconds
        unit = "tokens" if task.target == "next_token" else "examples"
        rate = batch * read_outs(task) / seconds
        yield (
            f"{name:<30}{spec.params(task).matmul:>9,}{batch:>6}{seconds * 1e3:>9.2f}"
            f"{rate:>10,.0f} {unit:<9}{flops / 1e9:>8.1f}{peak / 1e9:>6.0f}"
            f"{flops / peak:>7.1%}"
        )


if __name__ == "__main__":
    for line in table():
        print(line, flush=True)
