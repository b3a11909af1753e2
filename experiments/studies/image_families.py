"""How do test loss and error of four families fall with parameters, data and compute?

Perceptrons, convolutional networks, residual networks and vision transformers on
Fashion-MNIST. Every size is trained for 3 epochs of all 60,000 images; the largest of
each family also on nested subsets, for as many epochs; and every size for shorter
times, which share its trunk. All with three seeds, which draw the subsets too. Each
family has the learning rates of its own rule, which `image_rates` found on
Fashion-MNIST. The report fits each by itself, and compares them at budgets that all of
them were trained at.

Cost: 17 minutes on 2 CPU cores. Data: `harness data fetch fashion_mnist`.

The same on digits, at the rates of the clothes: `harness data fetch mnist`, then

    harness run image_families --set data.data=mnist --out results/image_families_mnist
"""

import dataclasses

from harness import (
    CNN,
    MLP,
    WSD,
    AdamW,
    FamilyExponents,
    Images,
    Promise,
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
PROMISES = [
    Promise(
        "Each family has an exponent of loss and of error against parameters, images "
        "and compute.",
        FamilyExponents(),
        at_least=24,
    ),
]
SWEEP = Sweep(
    chain(
        study(MLPS, recipe.LearningRate(k=7.02, n=-0.688)),
        study(CNNS, recipe.LearningRate(k=1.11, n=-0.519)),
        study(RESNETS, recipe.LearningRate(k=0.0147, n=0.113)),
        study(VITS, recipe.LearningRate(k=1.64, n=-0.619)),
    ),
    promises=PROMISES,
)
