"""Which model size is best for a compute budget, on Jane Austen's bytes?

Cost: about 20 minutes on 2 CPU cores.
"""

from harness import (
    OptimSpec,
    RunSpec,
    Sweep,
    Text,
    Transformer,
    chain,
    isoflop,
    ladder,
    recipe,
    with_seeds,
)

BUDGETS = [1e11 * 2**k for k in range(6)]
SIZES = [7e3, 1.3e4, 2e4, 3e4, 6.5e4, 1.2e5, 1.75e5, 3.5e5]
WINDOW = (0.6, 1000)
REPEATED = BUDGETS[2]

DATA = Text(corpus="austen", context=128, eval_sequences=512)
MODELS = ladder(Transformer, SIZES, DATA.shape, head_size=8)
BASE = RunSpec(
    model=MODELS[0], data=DATA, optim=OptimSpec(), batch=8, evals_per_octave=2
)

GRID = isoflop(BASE, MODELS, BUDGETS, tokens_per_parameter=WINDOW)
ONE_BUDGET = isoflop(BASE, MODELS, [REPEATED], tokens_per_parameter=WINDOW)
AGAIN = with_seeds(ONE_BUDGET, [1, 2])
SWEEP = Sweep(recipe.small_language_model(chain(GRID, AGAIN)))
