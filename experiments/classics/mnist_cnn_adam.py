"""What does the classic three-convolution network reach on MNIST, and at other widths?

conv 32 – pool – conv 64 – pool – conv 64 – dense 64 – 10, Adam, batch 32, 5 epochs.

Cost: about 12 minutes on one CPU core. Data: `harness data fetch mnist`.

The classic run holds its learning rate; the same run and its narrower relatives are
also trained with a cooldown, since fits take annealed runs: the ladder over the width
is part of the sweep.
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

EPOCHS, BATCH = 5, 32


def network(width: float) -> CNN:
    """The classic at `width` 1."""
    first, second = round(32 * width), round(64 * width)
    return CNN(
        channels=(first, second, second), pools=2, padding="valid", hidden=second
    )


ADAM = AdamW(lr=1e-3, beta2=0.999, eps=1e-7, clip=0.0)
CLASSIC = RunSpec(
    model=network(1),
    data=Images(data="mnist"),
    optimizer=ADAM,
    schedule=Constant(),
    batch=BATCH,
    steps=EPOCHS * 60_000 // BATCH,
    evals_per_octave=1,
)
WIDTHS = [1 / 8, 1 / 4, 1 / 2, 1]
HELD = 'schedule.name == "constant"'
PROMISES = [
    Promise(
        "The classic reaches at least 98.8 % test accuracy.",
        RunValue("accuracy", where=HELD),
        at_least=0.988,
    ),
]
SWEEP = Sweep(
    chain(
        product(CLASSIC, {"seed_init": [0]}),
        product(CLASSIC, {"schedule": [WSD()], "model": map(network, WIDTHS)}),
    ),
    promises=PROMISES,
)
