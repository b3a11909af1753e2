"""How does the loss of a small transformer on Jane Austen depend on N, D and C?

Cost: about 2 minutes on 2 CPU cores.
Promise: a Chinchilla law L = E + A/N^alpha + B/D^beta fitted to 20 runs.
"""

from harness import (
    OptimSpec,
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
    model=MODELS[0], data=DATA, optim=OptimSpec(), batch=16, evals_per_octave=2
)

SWEEP = Sweep(recipe.small_language_model(isoflop(BASE, MODELS, BUDGETS)))
