"""Which learning rate suits transformers, LSTMs and linear recurrences on bytes?

Three sizes of each family at rates an octave apart, on 4e5 bytes of Jane Austen seen
once; batch, context and optimiser are those of `text_families`, which takes the rules
that come out.

Cost: seven minutes on 2 CPU cores.
Promise: for each family a minimum between its rates at every size, and a rule
LR* = k N^a; `harness tune results/text_rates` prints them.

Found (2 AMD EPYC cores, November 2026): 5.95 N^-0.572 for transformers, 1.32 N^-0.245
for LSTMs and 87.5 N^-0.832 for linear recurrences. Three minima each, which scatter
about their rule by a factor of 1.4, 1.3 and 1.3, are no exponents to quote; for these
sizes the rules are good to that factor. The families want very different rates, and who
is ahead hangs on it: with 1.2e5 parameters the LSTM reaches 1.81 nats at 0.064, its
best, and 1.95 at 0.008, the best for the transformer, which reaches 1.87.
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
    octaves,
    product,
    recipe,
    tune,
)
from harness.specs.run import ModelSpec
from harness.sweeps.sweep import Point

SIZES = [7e3, 3e4, 1.2e5]
TOKENS = 4e5

DATA = Text(corpus="austen", context=128, eval_sequences=512)
TASK = DATA.shape
BASE = RunSpec(
    model=Transformer(width=16, depth=1, heads=2),
    data=DATA,
    optimizer=AdamW(lr=1e-3),
    schedule=WSD(),
    batch=8,
)


def tuned(models: list[ModelSpec], low: float, high: float) -> list[Point]:
    """Every model at every octave from `low` to `high`."""
    points = product(BASE, {"model": models, "tokens": [TOKENS]})
    points = recipe.small_language_model(points, warmup_tokens=TOKENS / 10)
    return tune(points, lr=octaves(low, high))


SWEEP = Sweep(
    chain(
        tuned(ladder(Transformer, SIZES, TASK, head_size=8), 2e-3, 6.4e-2),
        tuned(ladder(RNN, SIZES, TASK, cell="lstm"), 8e-3, 5.12e-1),
        tuned(ladder(LinearRNN, SIZES, TASK), 2e-3, 1.28e-1),
    )
)
