"""How does the loss of a small transformer on Jane Austen depend on N and D?

Cost: about 2 minutes on 2 CPU cores.
Promise: a Chinchilla law L = E + A/N^alpha + B/D^beta fitted to 20 runs.
"""

from functools import partial

from harness import (
    OptimSpec,
    RunSpec,
    Sweep,
    Text,
    Transformer,
    ladder,
    product,
    recipe,
    with_recipe,
)

TOKENS = [2e5, 4e5, 8e5, 1.6e6]
DATA = Text(corpus="austen", context=128, eval_sequences=128)
MODELS = ladder(Transformer, [7e3, 1.3e4, 2e4, 6e4, 1.2e5], DATA.shape, head_size=8)
BASE = RunSpec(
    model=MODELS[0], data=DATA, optim=OptimSpec(), batch=8, evals_per_octave=2
)
RECIPE = partial(recipe.small_language_model, shortest=min(TOKENS))

SWEEP = Sweep(with_recipe(product(BASE, {"model": MODELS, "tokens": TOKENS}), RECIPE))
