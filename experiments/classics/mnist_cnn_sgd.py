"""What does the classic two-convolution network reach on MNIST with momentum?

conv 32 – pool – conv 64 – pool – dense 128 – 10, SGD 0.01, momentum 0.9, 10 epochs of
batches of 32.

Cost: about 20 minutes on one CPU core. Data: `harness data fetch mnist`.
Promise: about 99 % test accuracy at full width, and what narrower ones reach.

The classic run holds its learning rate; the ladder over its width, part of the sweep,
cools down, since fits take annealed runs.

Found: the classic 99.16 %. With a cooldown 99.30, 98.86, 98.56 and 97.34 % at widths
1/2, 1/4, 1/8 and 1/16: half the width, annealed, does as well as the whole one held.
"""

from harness import CNN, SGD, WSD, Constant, Images, RunSpec, Sweep, chain, product

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
SWEEP = Sweep(
    chain(
        product(CLASSIC, {"seed_init": [0]}),
        product(CLASSIC, {"schedule": [WSD()], "model": map(network, WIDTHS)}),
    )
)
