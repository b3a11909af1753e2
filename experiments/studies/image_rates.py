"""Which learning rate suits perceptrons, convolutions, residual networks, transformers?

Three sizes of each family at six to eight rates, an octave apart, on one epoch of
Fashion-MNIST; batch and optimiser are those of `image_families`, which takes the rules
that come out.

Cost: ten minutes on 2 CPU cores. Data: `harness data fetch fashion_mnist`.
Promise: for each family a minimum between its rates at every size, and a rule
LR* = k N^a; `harness tune results/image_rates` prints them.
"""

from harness import (
    CNN,
    MLP,
    Images,
    OptimSpec,
    ResNet,
    RunSpec,
    Sweep,
    ViT,
    chain,
    ladder,
    octaves,
    product,
    tune,
)
from harness.spec import ModelSpec
from harness.sweep import Point

BATCH, IMAGES = 64, 60_000

BASE = RunSpec(
    model=MLP(width=8, depth=1),
    data=Images(data="fashion_mnist"),
    optim=OptimSpec(warmup=50, weight_decay=0.05),
    batch=BATCH,
    steps=IMAGES // BATCH,
)
TASK = BASE.data.shape


def tuned(models: list[ModelSpec], highest: float) -> list[Point]:
    """Every model at every octave from 1e-3 on."""
    return tune(product(BASE, {"model": models}), lr=octaves(1e-3, highest))


CNNS = ladder(CNN, [5e2, 5e3, 1.5e4], TASK, channels=(1, 2, 4), hidden=0)
SWEEP = Sweep(
    chain(
        tuned(ladder(MLP, [3e3, 3e4, 9e4], TASK, depth=2), 6.4e-2),
        tuned(CNNS, 6.4e-2),
        tuned(ladder(ResNet, [1.3e3, 2.8e3, 5e3], TASK), 1.28e-1),
        tuned(
            ladder(ViT, [3e3, 2.5e4, 6e4], TASK, head_size=8, aspect=24, patch=7),
            3.2e-2,
        ),
    )
)
