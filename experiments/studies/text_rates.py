"""Which learning rate suits transformers, LSTMs and linear recurrences on bytes?

Three sizes of each family at six or seven rates, an octave apart, on 4e5 bytes of Jane
Austen, seen once; batch, context and optimiser are those of `text_families`, which takes the
rules that come out.

Cost: five minutes on 2 CPU cores.
Promise: for each family a minimum between its rates at every size, and a rule
LR* = k N^a: `harness tune results/text_rates --where "family == 'rnn'"`.
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
    octaves,
    product,
    recipe,
    tune,
)

SIZES = [7e3, 3e4, 1.2e5]

DATA = Text(corpus="austen", context=128, eval_sequences=512)
FAMILIES = [
    (ladder(Transformer, SIZES, DATA.shape, head_size=8), octaves(2e-3, 6.4e-2)),
    (ladder(RNN, SIZES, DATA.shape, cell="lstm"), octaves(8e-3, 5.12e-1)),
    (ladder(LinearRNN, SIZES, DATA.shape), octaves(2e-3, 1.28e-1)),
]
BASE = RunSpec(model=FAMILIES[0][0][0], data=DATA, optim=OptimSpec(), batch=8)


def tuned(models: list, rates: list) -> list:
    """One family on 4e5 bytes, every model at every rate."""
    points = product(BASE, {"model": models, "tokens": [4e5]})
    return tune(recipe.small_language_model(points), lr=rates)


SWEEP = Sweep(chain(*(tuned(models, rates) for models, rates in FAMILIES)))
