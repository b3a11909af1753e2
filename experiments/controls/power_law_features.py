"""Do the fits find the exponents of random-feature regression, which are known?

Cost: about 5 minutes on 2 CPU cores.

With spectrum 1, loss falls as N^-1 in parameters, D^-1/2 in one-pass data and C^-1/3 at
the optimal split of compute (theory and sources: `PowerLawFeatures`). The sum of two
power laws describes this model only far from where they meet, so each exponent has its
own runs, told apart by their batch. The report fits all of them together, which is none
of the three.
"""

from harness import (
    SGD,
    WSD,
    FittedConstant,
    PowerLawFeatures,
    Promise,
    RandomFeatures,
    RunSpec,
    Sweep,
    chain,
    product,
)

DATA = PowerLawFeatures(inputs=1024, spectrum=1.0, eval_examples=16384)
ONCE = RunSpec(
    model=RandomFeatures(width=8),
    data=DATA,
    optimizer=SGD(lr=0.2, clip=0.0),
    schedule=WSD(),
    batch=16,
    evals_per_octave=1,
)
# Momentum and repeated examples only shorten the way to the same minimum.
TO_THE_END = RunSpec(
    model=RandomFeatures(width=8),
    data=DATA,
    optimizer=SGD(lr=0.1, momentum=0.95, clip=0.0),
    schedule=WSD(),
    batch=32,
    steps=4096,
    evals_per_octave=1,
)


WIDTHS = [6, 8, 12, 16, 24, 32, 48]


def features(widths: list[int], draws: int) -> list[RandomFeatures]:
    """Every width with several draws of the features."""
    return [
        RandomFeatures(width=width, features_seed=seed)
        for width in widths
        for seed in range(draws)
    ]


PARAMETERS = product(TO_THE_END, {"model": features(WIDTHS, 4)})
EXAMPLES = product(
    ONCE,
    {
        "batch": [64],
        "model": features([2048], 16),
        "steps": [2**k for k in range(6, 11)],
    },
)
# Along N ∝ C^1/3, which is D ∝ N², both terms fall alike.
COMPUTE = chain(
    *(
        product(ONCE, {"model": features([width], 8), "steps": [round(width**2 / 3)]})
        for width in [12, 16, 24, 32, 48, 64, 96, 128]
    )
)
PROMISES = [
    Promise(
        "In parameters, trained to the end, loss falls as N^-1.",
        FittedConstant("power", "c", x="n_matmul", where="batch == 32"),
        contains=1,
        widest=2.5,
    ),
    Promise(
        "In data, seen once, at a width that is ample, loss falls as D^-1/2.",
        FittedConstant("power", "c", x="tokens", where="batch == 64"),
        contains=1 / 2,
        widest=2.5,
    ),
    Promise(
        "In compute, N growing as C^1/3 and D as C^2/3, loss falls as C^-1/3.",
        FittedConstant("power", "c", x="flops_train", where="batch == 16"),
        contains=1 / 3,
        widest=2.5,
    ),
]
SWEEP = Sweep(chain(PARAMETERS, EXAMPLES, COMPUTE), promises=PROMISES)
