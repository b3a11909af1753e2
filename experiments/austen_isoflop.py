"""Which model size is best for a compute budget, on Jane Austen's bytes?

Cost: about 40 minutes on 2 CPU cores.

Six isoFLOP curves over 1.5 decades of compute, each with three seeds. The
small models see the text more than once at the large budgets: there their loss is an
upper bound of what fresh text would give.
"""

from harness import (
    WSD,
    AdamW,
    Minima,
    Promise,
    RmsResidual,
    RunSpec,
    Sweep,
    Text,
    Transformer,
    isoflop,
    ladder,
    recipe,
    with_seeds,
)

BUDGETS = [1e11 * 2**k for k in range(6)]
SIZES = [7e3, 1.3e4, 2e4, 3e4, 6.5e4, 1.2e5, 1.75e5, 3.5e5]
WINDOW = (0.6, 1000)
SEEDS = [0, 1, 2]

DATA = Text(corpus="austen", context=128, eval_sequences=512)
MODELS = ladder(Transformer, SIZES, DATA.shape, head_size=8)
BASE = RunSpec(
    model=MODELS[0],
    data=DATA,
    optimizer=AdamW(lr=1e-3),
    schedule=WSD(),
    batch=8,
    evals_per_octave=2,
)

GRID = isoflop(BASE, MODELS, BUDGETS, tokens_per_parameter=WINDOW)
PROMISES = [
    Promise(
        "All six isoFLOP curves have their minimum inside the grid.",
        Minima("budgets"),
        at_least=6,
    ),
    Promise(
        "The law misses the runs by less than 3 % (rms).", RmsResidual(), at_most=0.03
    ),
]
SWEEP = Sweep(
    recipe.small_language_model(with_seeds(GRID, SEEDS), warmup_tokens=1.2e4),
    promises=PROMISES,
)
