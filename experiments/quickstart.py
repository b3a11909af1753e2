"""How does the loss of a small transformer on Jane Austen depend on N, D and C?

Cost: one to two minutes on 2 CPU cores, compilation, fits and report included.

Twenty runs, five sizes at each of four compute budgets: enough for a law, and for
intervals that say how little one decade can tell.
"""

from harness import (
    WSD,
    AdamW,
    Promise,
    RmsResidual,
    RunSpec,
    Sweep,
    Text,
    Transformer,
    isoflop,
    ladder,
    recipe,
)

BUDGETS = [4e10, 8e10, 1.6e11, 3.2e11]
SIZES = [7e3, 1.3e4, 2e4, 3e4, 6.5e4]

DATA = Text(corpus="austen", context=64)
MODELS = ladder(Transformer, SIZES, DATA.shape, head_size=8)
BASE = RunSpec(
    model=MODELS[0],
    data=DATA,
    optimizer=AdamW(lr=1e-3),
    schedule=WSD(),
    batch=16,
    evals_per_octave=2,
)

GRID = isoflop(BASE, MODELS, BUDGETS)
SWEEP = Sweep(
    recipe.small_language_model(GRID, warmup_tokens=9e3),
    promises=[Promise("The law misses runs by < 2 %.", RmsResidual(), at_most=0.02)],
)
