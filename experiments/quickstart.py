"""How does the loss of a small transformer on Jane Austen depend on N, D and C?

Cost: one to two minutes on 2 CPU cores, compilation, fits and report included.
Promise: a Chinchilla law of 20 runs (5 sizes at each of 4 compute budgets) that misses
them by less than 2 % (rms), and intervals that say how little one decade can tell.

Found (2 AMD EPYC cores, November 2026): E 1.34 [0, 1.60], alpha 0.79 [0.10, 1.88],
beta 0.44 [0.12, 0.89], rms residual 1.6 %. E and alpha trade against each other, so
neither is known. The isoFLOP minima move from 13k parameters at 8e10 FLOPs to 27k at
3.2e11, an exponent of 0.50 from three points; at 4e10 the minimum lies below the grid.
Fitted to the budgets up to 1.6e11, the law predicts those at 3.2e11 with 3.8 % error.
"""

from harness import (
    WSD,
    AdamW,
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
SWEEP = Sweep(recipe.small_language_model(GRID, warmup_tokens=9e3))
