"""Which learning rate suits perceptrons, convolutions, residual networks, transformers?

Three sizes of each family at six rates, an octave apart, on one epoch of Fashion-MNIST;
batch and optimiser are those of `image_families`, which takes the rules that come out.

Cost: ten minutes on 2 CPU cores. Data: `harness data fetch fashion_mnist`.
Promise: for each family a minimum between its rates at every size, and a rule
LR* = k N^a: `harness tune results/image_rates --where "family == 'cnn'"`.
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
    ladder,
    octaves,
    product,
    tune,
)

BATCH, IMAGES = 64, 60_000

BASE = RunSpec(
    model=MLP(width=8, depth=1),
    data=Images(data="fashion_mnist"),
    optim=OptimSpec(warmup=50, weight_decay=0.05),
    batch=BATCH,
    steps=IMAGES // BATCH,
)
TASK = BASE.data.shape
MODELS = [
    *ladder(MLP, [3e3, 3e4, 9e4], TASK, depth=2),
    *ladder(CNN, [5e2, 5e3, 1.5e4], TASK, channels=(1, 2, 4), hidden=0),
    *ladder(ResNet, [1.3e3, 2.8e3, 5e3], TASK),
    *ladder(ViT, [3e3, 2.5e4, 6e4], TASK, head_size=8, aspect=24, patch=7),
]
SWEEP = Sweep(tune(product(BASE, {"model": MODELS}), lr=octaves(1e-3, 3.2e-2)))
