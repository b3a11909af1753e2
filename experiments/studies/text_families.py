"""Which learns Jane Austen's bytes best at equal compute: attention or recurrence?

Transformers, LSTMs and gated linear recurrences, five sizes of each with three seeds,
on six lengths of text seen once; lengths share the trunk of their size and seed. Each
family has the learning rates of its own rule, which `text_rates` found. The report fits
each by itself, and compares them at budgets that all of them were trained at. With 128
bytes of context attention has little to look back on: no word on larger models.

Cost: 9 minutes on 2 CPU cores.
"""

from harness import (
    RNN,
    WSD,
    AdamW,
    FamilyExponents,
    LinearRNN,
    Promise,
    RunSpec,
    Sweep,
    Text,
    Transformer,
    chain,
    ladder,
    product,
    recipe,
    with_seeds,
)
from harness.specs.run import ModelSpec
from harness.sweeps.sweep import Point

SIZES = [7e3, 1.5e4, 3e4, 6e4, 1.2e5]
TOKENS = [1e5 * 2**k for k in range(6)]
SEEDS = [0, 1, 2]

DATA = Text(corpus="austen", context=128, eval_sequences=512)
TRANSFORMERS = ladder(Transformer, SIZES, DATA.shape, head_size=8)
LSTMS = ladder(RNN, SIZES, DATA.shape, cell="lstm")
LINEAR_RNNS = ladder(LinearRNN, SIZES, DATA.shape)
BASE = RunSpec(
    model=TRANSFORMERS[0],
    data=DATA,
    optimizer=AdamW(lr=1e-3),
    schedule=WSD(),
    batch=8,
    evals_per_octave=2,
)


def study(models: list[ModelSpec], rule: recipe.LearningRate) -> list[Point]:
    """One family: every size on every length of text, with every seed."""
    grid = product(BASE, {"model": models, "tokens": TOKENS})
    grid = recipe.small_language_model(grid, warmup_tokens=1e4)
    return with_seeds(recipe.tuned(grid, rule), SEEDS)


PROMISES = [
    Promise(
        "Each family has an exponent of loss against parameters, bytes and compute.",
        FamilyExponents(),
        at_least=9,
    ),
]
SWEEP = Sweep(
    chain(
        study(TRANSFORMERS, recipe.LearningRate(k=5.95, n=-0.572)),
        study(LSTMS, recipe.LearningRate(k=1.32, n=-0.245)),
        study(LINEAR_RNNS, recipe.LearningRate(k=87.5, n=-0.832)),
    ),
    promises=PROMISES,
)
