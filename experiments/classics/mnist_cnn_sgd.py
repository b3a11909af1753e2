"""What does the classic two-convolution network reach on MNIST with momentum?

conv 32 – pool – conv 64 – pool – dense 128 – 10, SGD 0.01, momentum 0.9, 10 epochs of
batches of 32.

Cost: about 20 minutes on one CPU core. Data: `harness data fetch mnist`.

The classic run holds its learning rate; the ladder over its width, part of the sweep,
cools down, since fits take annealed runs.
"""

from harness import (
    CNN,
    SGD,
    WSD,
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
    return CNN(channels=(first, 2 * first), pools=2, padding="valid", hidden=4 * first)


MOMENTUM = SGD(lr=0.01, momentum=0.9, clip=0.0)
CLASSIC = RunSpec(
    model=network(1),
    data=Images(data="mnist"),
    optimizer=MOMENTUM,
    schedule=Constant(),
    batch=BATCH,
    steps=EPOCHS * 60_000 // BATCH,
    evals_per_octave=1,
)
WIDTHS = [1 / 16, 1 / 8, 1 / 4, 1 / 2]
HELD = 'schedule.name == "constant"'
PROMISES = [
    Promise(
        "The classic reaches about 99 % test accuracy.",
        RunValue("accuracy", where=HELD),
        near=(0.99, 0.005),
    ),
]
SWEEP = Sweep(
    chain(
        product(CLASSIC, {"seed_init": [0]}),
        product(CLASSIC, {"schedule": [WSD()], "model": map(network, WIDTHS)}),
    ),
    promises=PROMISES,
)
