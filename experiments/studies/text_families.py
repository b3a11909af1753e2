"""Which learns Jane Austen's bytes best at equal compute: attention or recurrence?

Transformers, LSTMs and gated linear recurrences, five sizes of each, on six lengths of
text seen once; lengths share the trunk of their size. The report fits each family by
itself, and compares them at budgets that all of them were trained at.

Cost: about 30 minutes on 2 CPU cores, estimated from timed steps on a machine that had
other work; not trained yet.
Promise: for each family an exponent, with interval, of loss against parameters at all
the data, against bytes at the largest size, and against compute along the frontier; and
which family leads at the ends and the middle of the compute that they share.

Each family has the learning rates of its own rule, which `text_rates` found.
"""

from harness import (
    RNN,
    LinearRNN,
    OptimSpec,
    RunSpec,
    Sweep,
    Text,
    Transformer,
    chain,
    ladder,
    product,
    recipe,
)
from harness.spec import ModelSpec
from harness.sweep import Point

SIZES = [7e3, 1.5e4, 3e4, 6e4, 1.2e5]
TOKENS = [1e5 * 2**k for k in range(6)]

DATA = Text(corpus="austen", context=128, eval_sequences=512)
TRANSFORMERS = ladder(Transformer, SIZES, DATA.shape, head_size=8)
LSTMS = ladder(RNN, SIZES, DATA.shape, cell="lstm")
LINEAR_RNNS = ladder(LinearRNN, SIZES, DATA.shape)
BASE = RunSpec(
    model=TRANSFORMERS[0], data=DATA, optim=OptimSpec(), batch=8, evals_per_octave=2
)


def study(models: list[ModelSpec], rule: recipe.LearningRate) -> list[Point]:
    """One family: every size on every length of text."""
    grid = product(BASE, {"model": models, "tokens": TOKENS})
    return recipe.tuned(recipe.small_language_model(grid), rule)


SWEEP = Sweep(
    chain(
        study(TRANSFORMERS, recipe.LearningRate(k=5.95, n=-0.572)),
        study(LSTMS, recipe.LearningRate(k=1.32, n=-0.245)),
        study(LINEAR_RNNS, recipe.LearningRate(k=87.5, n=-0.832)),
    )
)
