"""What does the classic 784–512–10 perceptron reach on MNIST, class by class?

One hidden layer of 512 units, Adam, 20 epochs of batches of 128, a fifth of the
training images held back for validation; evaluated on the test images. The accuracy of
each class is in the metrics `accuracy/0` … `accuracy/9`.

Cost: about 5 minutes on one CPU core. Data: `harness data fetch mnist`.

The classic run holds its learning rate; the ladder over its width, part of the sweep,
cools down, since fits take annealed runs.
"""

from harness import (
    MLP,
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

EPOCHS, BATCH, TRAINING = 20, 128, 48_000

ADAM = AdamW(lr=1e-3, beta2=0.999, eps=1e-7, clip=0.0)
CLASSIC = RunSpec(
    model=MLP(width=512, depth=1),
    data=Images(data="mnist", validation_examples=60_000 - TRAINING),
    optimizer=ADAM,
    schedule=Constant(),
    batch=BATCH,
    steps=EPOCHS * TRAINING // BATCH,
    evals_per_octave=1,
)
WIDTHS = [16, 32, 64, 128, 256, 512]
HELD = 'schedule.name == "constant"'
PROMISES = [
    Promise(
        "Each of three seeds of the classic reaches at least 97.8 % test accuracy.",
        RunValue("accuracy", where=HELD),
        at_least=0.978,
    ),
]
SWEEP = Sweep(
    chain(
        product(CLASSIC, {"seed_init": [0, 1, 2]}),
        product(
            CLASSIC,
            {"schedule": [WSD()], "model": [MLP(width=w, depth=1) for w in WIDTHS]},
        ),
    ),
    promises=PROMISES,
)
