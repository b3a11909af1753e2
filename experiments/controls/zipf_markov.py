"""Does the fit find the entropy of a Markov source as the irreducible loss?

Cost: about 10 minutes on 2 CPU cores.

Theory: `ZipfMarkov`. Lengths start where the excess has settled to a power of D: with
shorter ones, whose excess falls faster, E comes out too high.

The eight draws of the source have different transitions and the same entropy; each also
has its own held-out sequences, whose sampling error thereby enters the interval.
"""

from harness import (
    WSD,
    AdamW,
    FittedConstant,
    Promise,
    RunSpec,
    Sweep,
    Transformer,
    ZipfMarkov,
    product,
)

SOURCE = ZipfMarkov(vocab=16, context=32, unique_tokens=2**23, eval_sequences=16384)
BASE = RunSpec(
    model=Transformer(width=32, depth=1, heads=1),
    data=SOURCE,
    optimizer=AdamW(lr=5e-3),
    schedule=WSD(warmup=16),
    batch=32,
    evals_per_octave=1,
)
PROMISES = [
    Promise(
        "The irreducible loss is the entropy rate of the source.",
        FittedConstant("power_constant", "E", x="tokens", run="seed_data"),
        contains=SOURCE.entropy,
        widest=1.005,
    ),
]
SWEEP = Sweep(
    product(BASE, {"seed_data": range(8), "steps": [2**k for k in range(8, 14)]}),
    promises=PROMISES,
)
