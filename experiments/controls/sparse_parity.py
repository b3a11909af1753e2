"""Do multitask sparse parities give the exponents of the quantisation model?

Cost: about 2 minutes on 2 CPU cores.
Promise: with alpha 1, loss falls about as N^-1 in parameters and as D^-1/2 in data seen
once (theory and sources: `SparseParity`), each exponent within a tenth.

The theory is of endless tasks. From the least to the most data 1 to 11 of these 128 are
learned, where its own curve has a slope of 0.44 to 0.53, by how suddenly a task is
learned; intervals are of the noise between seeds, and do not know of this.

Each exponent has its own runs: `fit --law power` with

    --x n_matmul --where "batch == 128"    parameters, trained for long
    --x tokens --where "batch == 64"       data, seen once, at a width that is ample

One-pass learning uses plain SGD, under which a task is learned after a number of its
own examples, as the theory supposes. Adam speeds up rare tasks, and data exponents with
it (0.7 where the theory says 1/3, measured with alpha 0.5).

Found: 0.92 [0.88, 0.97] in parameters, 0.477 [0.470, 0.489] in data.
"""

from harness import (
    MLP,
    SGD,
    WSD,
    AdamW,
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
SWEEP = Sweep(
    chain(
        with_seeds(PARAMETERS, range(3), fields=SEEDS),
        with_seeds(EXAMPLES, range(12), fields=SEEDS),  # lengths of one seed: one trunk
    )
)
