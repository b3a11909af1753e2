"""Which learns Jane Austen's bytes best at equal compute: attention or recurrence?

Transformers, LSTMs and gated linear recurrences, five sizes of each with three seeds,
on six lengths of text seen once; lengths share the trunk of their size and seed. Each
family has the learning rates of its own rule, which `text_rates` found. The report fits
each by itself, and compares them at budgets that all of them were trained at.

Cost: 9 minutes on 2 CPU cores.
Promise: for each family an exponent, with interval, of loss against parameters at all
the data, against bytes at the largest size, and against compute along the frontier; and
which family leads at the ends and the middle of the compute that they share.

Found (2 AMD EPYC cores, November 2026), exponents c of b x^-c, in the order linear
recurrences, LSTMs, transformers:

- Compute: 0.077 [0.072, 0.083], 0.070 [0.066, 0.074] and 0.084 [0.068, 0.101]. The
  linear recurrences lead at every budget: 2.23, 2.25 and 2.48 nats at 7e9 FLOPs, 1.78,
  1.82 and 1.84 at 1.2e11, 1.43 [1.41, 1.45], 1.50 [1.48, 1.52] and 1.53 [1.46, 1.60]
  at 2.2e12. The transformers come near the others in the middle and do not pass them.
- Bytes, at 1.2e5 parameters: 0.115 [0.102, 0.127], 0.127 [0.101, 0.152], 0.136 [0.121,
  0.150]. Parameters, at 3.2e6 bytes: 0.102 [0.096, 0.106], 0.095 [0.092, 0.104], 0.080
  [0.066, 0.092].
- 128 bytes of context leave attention little to look back on: no word on larger models.
"""

from harness import (
    RNN,
    WSD,
    AdamW,
    LinearRNN,
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


SWEEP = Sweep(
    chain(
        study(TRANSFORMERS, recipe.LearningRate(k=5.95, n=-0.572)),
        study(LSTMS, recipe.LearningRate(k=1.32, n=-0.245)),
        study(LINEAR_RNNS, recipe.LearningRate(k=87.5, n=-0.832)),
    )
)
