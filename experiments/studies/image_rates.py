"""Which learning rate suits perceptrons, convolutions, residual networks, transformers?

Three sizes of each family at six to eight rates, an octave apart, on one epoch of
Fashion-MNIST; batch and optimiser are those of `image_families`, which takes the rules
LR* = k N^a that come out; `harness tune results/image_rates` prints them.

Cost: twenty to forty minutes on 2 CPU cores. Data: `harness data fetch fashion_mnist`.
"""

from harness import (
    CNN,
    MLP,
    WSD,
    AdamW,
    Images,
    Minima,
    Promise,
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
from harness.specs.run import ModelSpec
from harness.sweeps.sweep import Point

BATCH, IMAGES = 64, 60_000

BASE = RunSpec(
    model=MLP(width=8, depth=1),
    data=Images(data="fashion_mnist"),
    optimizer=AdamW(lr=1e-3, weight_decay=0.05),
    schedule=WSD(warmup=50),
    batch=BATCH,
    steps=IMAGES // BATCH,
)
TASK = BASE.data.shape


def tuned(models: list[ModelSpec], highest: float) -> list[Point]:
    """Every model at every octave from 1e-3 on."""
    return tune(product(BASE, {"model": models}), lr=octaves(1e-3, highest))


CNNS = ladder(CNN, [5e2, 5e3, 1.5e4], TASK, channels=(1, 2, 4), hidden=0)
PROMISES = [
    Promise(
        "Every size of every family has its best rate between two others.",
        Minima("rates"),
        at_least=12,
    ),
]
SWEEP = Sweep(
    chain(
        tuned(ladder(MLP, [3e3, 3e4, 9e4], TASK, depth=2), 6.4e-2),
        tuned(CNNS, 6.4e-2),
        tuned(ladder(ResNet, [1.3e3, 2.8e3, 5e3], TASK), 1.28e-1),
        tuned(
            ladder(ViT, [3e3, 2.5e4, 6e4], TASK, head_size=8, aspect=24, patch=7),
            3.2e-2,
        ),
    ),
    promises=PROMISES,
)
