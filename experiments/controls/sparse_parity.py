"""Do multitask sparse parities give the exponents of the quantisation model?

Cost: about 2 minutes on 2 CPU cores.

With alpha 1, loss falls about as N^-1 in parameters and as D^-1/2 in data seen once
(theory and sources: `SparseParity`). Each exponent has its own runs, told apart by
their batch.

The theory is of endless tasks. From the least to the most data 1 to 11 of these 128 are
learned, where its own curve has a slope of 0.44 to 0.53, by how suddenly a task is
learned; intervals are of the noise between seeds, and do not know of this.

One-pass learning uses plain SGD, under which a task is learned after a number of its
own examples, as the theory supposes. Adam speeds up rare tasks, and data exponents with
it.
"""

from harness import (
    MLP,
    SGD,
    WSD,
    AdamW,
    FittedConstant,
    Promise,
    RunSpec,
    SparseParity,
    Sweep,
    chain,
    product,
    with_seeds,
)

DATA = SparseParity(tasks=128, bits=24, order=2, alpha=1.0, eval_examples=8192)
PARAMETERS = product(
    RunSpec(
        model=MLP(width=8, depth=1),
        data=DATA,
        optimizer=AdamW(lr=0.01),
        schedule=WSD(warmup=16),
        batch=128,
        steps=16384,
        evals_per_octave=1,
    ),
    {
        "data.unique_examples": [2**20],
        "model.width": [3, 4, 6, 8, 12, 16, 24, 32],
    },
)
EXAMPLES = product(
    RunSpec(
        model=MLP(width=128, depth=1),
        data=DATA,
        optimizer=SGD(lr=0.5, clip=0.0),
        schedule=WSD(warmup=16),
        batch=64,
        evals_per_octave=1,
    ),
    {"data.unique_examples": [2**21], "steps": [2**k for k in range(8, 16)]},
)
SEEDS = ("seed_init", "seed_order", "seed_data")
PROMISES = [
    Promise(
        "In parameters, trained for long, loss falls as N^-1, within a tenth.",
        FittedConstant("power", "c", x="n_matmul", where="batch == 128"),
        near=(1, 0.1),
        widest=1.2,
    ),
    Promise(
        "In data, seen once, at an ample width, as D^-1/2, within a tenth.",
        FittedConstant("power", "c", x="tokens", where="batch == 64"),
        near=(1 / 2, 0.1),
        widest=1.2,
    ),
]
SWEEP = Sweep(
    chain(
        with_seeds(PARAMETERS, range(3), fields=SEEDS),
        with_seeds(EXAMPLES, range(12), fields=SEEDS),  # lengths of one seed: one trunk
    ),
    promises=PROMISES,
)
