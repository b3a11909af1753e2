"""Does the loss fall as N^-4/k on data from a manifold of dimension k?

Cost: about 5 minutes on 2 CPU cores.

Theory and source: `ManifoldTeacher`. Every seed draws another teacher on another
manifold, so that their scatter enters the intervals.
"""

from harness import (
    MLP,
    WSD,
    AdamW,
    FittedConstant,
    ManifoldTeacher,
    Promise,
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
DIMENSIONS = [3, 4, 6]
PROMISES = [
    Promise(
        f"In {k} dimensions loss falls as N^-4/{k}.",
        FittedConstant("power", "c", x="n_matmul", where=f"data.dimension == {k}"),
        contains=4 / k,
        widest=2.5,
    )
    for k in DIMENSIONS
]
SWEEP = Sweep(
    with_seeds(
        product(
            BASE,
            {
                "data.dimension": DIMENSIONS,
                "model.width": [4, 6, 8, 12, 16, 24, 32],
            },
        ),
        [0, 1, 2],
        fields=("seed_init", "seed_order", "seed_data"),
    ),
    promises=PROMISES,
)
