"""Which learning rate suits transformers, LSTMs and linear recurrences on bytes?

Three sizes of each family at rates an octave apart, on 4e5 bytes of Jane Austen seen
once; batch, context and optimiser are those of `text_families`, which takes the rules
LR* = k N^a that come out; `harness tune results/text_rates` prints them.

Cost: seven minutes on 2 CPU cores.
"""

from harness import (
    RNN,
    WSD,
    AdamW,
    LinearRNN,
    Minima,
    Promise,
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


PROMISES = [
    Promise(
        "Every size of every family has its best rate between two others.",
        Minima("rates"),
        at_least=9,
    ),
]
SWEEP = Sweep(
    chain(
        tuned(ladder(Transformer, SIZES, TASK, head_size=8), 2e-3, 6.4e-2),
        tuned(ladder(RNN, SIZES, TASK, cell="lstm"), 8e-3, 5.12e-1),
        tuned(ladder(LinearRNN, SIZES, TASK), 2e-3, 1.28e-1),
    ),
    promises=PROMISES,
)
