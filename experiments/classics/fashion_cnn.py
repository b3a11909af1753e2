"""What does the classic one-convolution network reach on pictures of clothing?

conv 32 – pool – dense 128 – 10, Adam, 10 epochs of batches of 32. The classic is shown
CIFAR-10: `harness data fetch cifar10`, then add `--set data.data=cifar10`.

Cost: about 20 minutes on one CPU core. Data: `harness data fetch fashion_mnist`.

The classic run holds its learning rate; the ladder over its width, part of the sweep,
cools down, since fits take annealed runs.
"""

from harness import (
    CNN,
    WSD,
    AdamW,
    Constant,
    Images,
    Promise,
    RunSpec,
    RunValue,
    Sweep,
    chain,
    product,
)

EPOCHS, BATCH = 10, 32


def network(width: float) -> CNN:
    """The classic at `width` 1."""
    first = round(32 * width)
    return CNN(channels=(first,), padding="valid", hidden=4 * first)


ADAM = AdamW(lr=1e-3, beta2=0.999, eps=1e-7, clip=0.0)
CLASSIC = RunSpec(
    model=network(1),
    data=Images(data="fashion_mnist"),
    optimizer=ADAM,
    schedule=Constant(),
    batch=BATCH,
    steps=EPOCHS * 60_000 // BATCH,
    evals_per_octave=1,
)
WIDTHS = [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1]
HELD = 'schedule.name == "constant"'
PROMISES = [
    Promise(
        "The classic reaches about 91 % test accuracy.",
        RunValue("accuracy", where=HELD),
        near=(0.91, 0.01),
    ),
    Promise(
        "Its test loss rises again: at the end it is above its lowest.",
        RunValue("loss - best_loss", where=HELD),
        at_least=0.01,
    ),
]
SWEEP = Sweep(
    chain(
        product(CLASSIC, {"seed_init": [0]}),
        product(CLASSIC, {"schedule": [WSD()], "model": map(network, WIDTHS)}),
    ),
    promises=PROMISES,
)
