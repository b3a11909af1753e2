"""Which learning rate suits perceptrons, convolutions, residual networks, transformers?

Three sizes of each family at six to eight rates, an octave apart, on one epoch of
Fashion-MNIST; batch and optimiser are those of `image_families`, which takes the rules
that come out.

Cost: twenty to forty minutes on 2 CPU cores. Data: `harness data fetch fashion_mnist`.
Promise: for each family a minimum between its rates at every size, and a rule
LR* = k N^a; `harness tune results/image_rates` prints them.

Found (2 AMD EPYC cores, November 2026): 7.02 N^-0.688 for perceptrons, 1.11 N^-0.519
for CNNs, about 0.04 at every size (0.0147 N^0.113) for residual networks, 1.64 N^-0.619
for vision transformers; three minima each, two for CNNs, whose smallest is as good at
0.064, the highest rate tried, as at 0.032. One rate for all favours one of them: 0.004
costs the vision transformers 0.01 nats, the residual networks 0.10 to 0.23 and the
smallest perceptron 0.29.
"""

from harness import (
    CNN,
    MLP,
    WSD,
    AdamW,
    Images,
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
