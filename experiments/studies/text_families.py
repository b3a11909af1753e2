"""Which learns Jane Austen's bytes best at equal compute: attention or recurrence?

Transformers, LSTMs and gated linear recurrences, five sizes of each with three seeds,
on six lengths of text seen once; lengths share the trunk of their size and seed. Each
family has the learning rates of its own rule, which `text_rates` found. The report fits
each by itself, and compares them at budgets that all of them were trained at.

Cost: 8 minutes on 2 CPU cores.
Promise: for each family an exponent, with interval, of loss against parameters at all
the data, against bytes at the largest size, and against compute along the frontier; and
which family leads at the ends and the middle of the compute that they share.

Found (2 AMD EPYC cores, November 2026), exponents c of b x^-c, in the order linear
recurrences, LSTMs, transformers:

- Compute: 0.076 [0.071, 0.083], 0.070 [0.066, 0.074] and 0.085 [0.067, 0.104]. The
  linear recurrences lead at every budget: 2.23, 2.25 and 2.49 nats at 7e9 FLOPs, 1.79,
  1.82 and 1.85 at 1.2e11, 1.43 [1.41, 1.46], 1.50 [1.48, 1.53] and 1.51 [1.46, 1.57]
  at 2.2e12. The transformers gain on the others, but do not catch up here.
- Bytes, at 1.2e5 parameters: 0.121 [0.073, 0.166], 0.132 [0.035, 0.231], 0.141 [0.076,
  0.210]. Parameters, at 3.2e6 bytes: 0.106 [0.092, 0.122], 0.093 [0.076, 0.114], 0.077
  [0.029, 0.128].
- One seed each, and 128 bytes of context, which leave attention little to look back on:
  no word on larger models.
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
    with_seeds,
)
from harness.spec import ModelSpec
from harness.sweep import Point

SIZES = [7e3, 1.5e4, 3e4, 6e4, 1.2e5]
TOKENS = [1e5 * 2**k for k in range(6)]
SEEDS = [0, 1, 2]

DATA = Text(corpus="austen", context=128, eval_sequences=512)
TRANSFORMERS = ladder(Transformer, SIZES, DATA.shape, head_size=8)
LSTMS = ladder(RNN, SIZES, DATA.shape, cell="lstm")
LINEAR_RNNS = ladder(LinearRNN, SIZES, DATA.shape)
BASE = RunSpec(
    model=TRANSFORMERS[0], data=DATA, optim=OptimSpec(), batch=8, evals_per_octave=2
)


def study(models: list[ModelSpec], rule: recipe.LearningRate) -> list[Point]:
    """One family: every size on every length of text, with every seed."""
    grid = product(BASE, {"model": models, "tokens": TOKENS})
    return with_seeds(recipe.tuned(recipe.small_language_model(grid), rule), SEEDS)


SWEEP = Sweep(
    chain(
        study(TRANSFORMERS, recipe.LearningRate(k=5.95, n=-0.572)),
        study(LSTMS, recipe.LearningRate(k=1.32, n=-0.245)),
        study(LINEAR_RNNS, recipe.LearningRate(k=87.5, n=-0.832)),
    )
)
