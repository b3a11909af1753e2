"""Do multitask sparse parities give the exponents of the quantisation model?

Cost: about 5 minutes on 2 CPU cores.
Promise: with alpha 1, loss falls as N^-1 in parameters and as D^-1/2 in data seen once,
and each fitted interval contains its exponent (theory and sources: `SparseParity`).

Each exponent has its own runs: `fit --law power` with

    --x n_matmul --where "batch == 128"    parameters, trained for long
    --x tokens --where "batch == 64"       data, seen once, at a width that is ample

One-pass learning uses plain SGD, under which a task is learned after a number of its
own examples, as the theory supposes. Adam speeds up rare tasks, and data exponents with
it (0.7 where the theory says 1/3, measured with alpha 0.5).

Found: 0.95 [0.86, 1.14] in parameters, 0.476 [0.458, 0.506] in data.
"""

from harness import (
    MLP,
    OptimSpec,
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
        optim=OptimSpec(lr=0.01, warmup=16),
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
        optim=OptimSpec(optimizer="sgd", lr=0.5, clip=0.0, warmup=16),
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
