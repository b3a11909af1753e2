"""Which model size is best for a compute budget, on Jane Austen's bytes?

Cost: about 20 minutes on 2 CPU cores.
"""

from functools import partial

from harness import (
    OptimSpec,
    RunSpec,
    Sweep,
    Text,
    Transformer,
    chain,
    isoflop,
    recipe,
    with_recipe,
    with_seeds,
)

BUDGETS = [1e11 * 2**k for k in range(6)]
REPEATED = BUDGETS[2]
WIDTHS = [16, 24, 32, 48, 64, 80, 96, 128]
DATA = Text(corpus="austen", context=128, eval_sequences=512)
MODELS = [
    Transformer(width=w, depth=max(1, w // 32), heads=max(1, w // 16)) for w in WIDTHS
]
BASE = RunSpec(
    model=MODELS[0], data=DATA, optim=OptimSpec(), batch=8, evals_per_octave=2
)
RECIPE = partial(recipe.small_language_model, shortest=2e5)
WINDOW = (0.6, 1000)

GRID = isoflop(BASE, MODELS, BUDGETS, tokens_per_parameter=WINDOW)
AGAIN = with_seeds(
    isoflop(BASE, MODELS, [REPEATED], tokens_per_parameter=WINDOW), [1, 2]
)
SWEEP = Sweep(with_recipe(chain(GRID, AGAIN), RECIPE))
