"""Does the loss fall as N^-4/k on data from a manifold of dimension k?

Cost: about 5 minutes on 2 CPU cores.
Promise: for k = 3, 4 and 6, `fit --law power --x n_matmul` on the runs of one dimension
(`--where "data.dimension == 4"`) gives an exponent near 4/k (theory and source:
`ManifoldTeacher`). Every seed draws another teacher on another manifold, so that their
scatter enters the intervals.

Found: 1.32 [1.13, 1.46] at k = 3, 1.13 [0.70, 1.47] at 4, 0.54 [0.38, 0.90] at 6.
"""

from harness import (
    MLP,
    WSD,
    AdamW,
    ManifoldTeacher,
    RunSpec,
    Sweep,
    product,
    with_seeds,
)

BASE = RunSpec(
    model=MLP(width=8),
    data=ManifoldTeacher(unique_examples=2**20),
    optimizer=AdamW(lr=5e-3),
    schedule=WSD(warmup=100),
    batch=256,
    steps=8192,
    evals_per_octave=1,
)
SWEEP = Sweep(
    with_seeds(
        product(
            BASE,
            {
                "data.dimension": [3, 4, 6],
                "model.width": [4, 6, 8, 12, 16, 24, 32],
            },
        ),
        [0, 1, 2],
        fields=("seed_init", "seed_order", "seed_data"),
    )
)
