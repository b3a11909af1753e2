"""How do test loss and error of four families fall with parameters, data and compute?

Perceptrons, convolutional networks, residual networks and vision transformers on
Fashion-MNIST. Every size is trained for 3 epochs of all 60,000 images; the largest of
each family also on nested subsets, for as many epochs; and every size for shorter
times, which share its trunk. All with three seeds, which draw the subsets too. Each
family has the learning rates of its own rule, which `image_rates` found on
Fashion-MNIST. The report fits each by itself, and compares them at budgets that all of
them were trained at.

Cost: 17 minutes on 2 CPU cores. Data: `harness data fetch fashion_mnist`.
Promise: for each family an exponent, with interval, of loss and of error against
parameters at full data, against different images at the largest size, and against
compute along the frontier.

Found on clothes (2 AMD EPYC cores, November 2026), exponents c of b x^-c for the error:

- Data, 3,750 to 60,000 images: 0.19 [0.19, 0.22] for CNNs, 0.17 [0.15, 0.18] for
  perceptrons, 0.27 [0.23, 0.30] for residual networks, 0.21 [0.17, 0.22] for vision
  transformers.
- Parameters: 0.17 [0.13, 0.18], 0.13 [0.10, 0.14], 0.13 [0.07, 0.17] and 0.07 [0.04,
  0.08]; in 3 epochs all but the CNNs flatten towards an error of 0.11 to 0.12.
- Compute: 0.12 [0.09, 0.15], 0.11 [0, 0.23], 0.16 [0.11, 0.23], 0.11 [0.07, 0.16].
  At equal compute perceptrons lead up to about 1e11 FLOPs (an error of 0.125 against
  0.143 of the CNNs at 2e10) and CNNs beyond (0.108 against 0.114 at 2e11; 8.8 % at
  most compute). The other two are behind throughout: 12.3 and 11.9 % at best.

The same on digits, at the rates of the clothes: `harness data fetch mnist`, then

    harness run image_families --set data.data=mnist --out results/image_families_mnist

Found on digits, error as above, in the same order: data 0.41 [0.38, 0.53], 0.55 [0.51,
0.58], 0.81 [0.73, 0.97], 0.66 [0.61, 0.72]; parameters 0.45 [0.33, 0.53], 0.43 [0.38,
0.48], 0.59 [0.47, 0.73], 0.22 [0.16, 0.28]; compute 0.39 [0.26, 0.52], 0.35 [0.18,
0.51], 0.53 [0.50, 0.55], 0.32 [0.16, 0.47]: two to five times the exponents of the
clothes. CNNs lead from 1e10 FLOPs on; residual networks pass the vision transformers
between 1e11 and 2e11. The lowest errors are 0.68, 1.66, 0.86 and 1.60 %.
"""

import dataclasses

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
    product,
    recipe,
    with_seeds,
    zip_,
)
from harness.specs.run import ModelSpec
from harness.sweeps.sweep import Point

EPOCHS, BATCH, IMAGES = 3, 64, 60_000
LENGTHS = [1 / 8, 1 / 4, 1 / 2, 1]
SUBSETS = [1 / 16, 1 / 8, 1 / 4, 1 / 2]
SEEDS = [0, 1, 2]

BASE = RunSpec(
    model=MLP(width=8, depth=1),
    data=Images(data="fashion_mnist"),
    optimizer=AdamW(lr=1e-3, weight_decay=0.05),
    schedule=WSD(warmup=50),
    batch=BATCH,
    evals_per_octave=1,
)
TASK = BASE.data.shape


def steps(images: float, epochs: float) -> int:
    """Updates that show so many images so many times."""
    return round(images * epochs / BATCH)


def study(models: list[ModelSpec], rule: recipe.LearningRate) -> list[Point]:
    """One family: every size at every length, and its largest on less data."""
    sizes = product(
        BASE,
        {
            "model": models,
            "steps": [steps(IMAGES, share * EPOCHS) for share in LENGTHS],
        },
    )
    less_data = zip_(
        dataclasses.replace(BASE, model=models[-1]),
        {
            "data.unique_examples": [round(share * IMAGES) for share in SUBSETS],
            "steps": [steps(share * IMAGES, EPOCHS) for share in SUBSETS],
        },
    )
    return with_seeds(
        recipe.tuned(chain(sizes, less_data), rule),
        SEEDS,
        fields=("seed_init", "seed_order", "seed_data"),
    )


MLPS = ladder(MLP, [3e3, 9e3, 3e4, 9e4, 2.7e5], TASK, depth=2)
CNNS = ladder(CNN, [5e2, 1.5e3, 4e3, 1e4, 2.5e4], TASK, channels=(1, 2, 4), hidden=0)
RESNETS = ladder(ResNet, [1.3e3, 2.8e3, 5e3, 7.5e3, 1.1e4], TASK)
VITS = ladder(ViT, [3e3, 1e4, 2.5e4, 6e4, 1.5e5], TASK, head_size=8, aspect=24, patch=7)
SWEEP = Sweep(
    chain(
        study(MLPS, recipe.LearningRate(k=7.02, n=-0.688)),
        study(CNNS, recipe.LearningRate(k=1.11, n=-0.519)),
        study(RESNETS, recipe.LearningRate(k=0.0147, n=0.113)),
        study(VITS, recipe.LearningRate(k=1.64, n=-0.619)),
    )
)
