"""Does the fit find the entropy of a Markov source as the irreducible loss?

Cost: about 10 minutes on 2 CPU cores.
Promise: `fit --law power_constant --x tokens --run seed_data` gives an interval of E
that contains the entropy rate, 2.3589 nats per token (theory: `ZipfMarkov`).

Lengths start where the excess has settled to a power of D: with shorter ones, whose
excess falls faster, E comes out 0.001 too high.

The eight draws of the source have different transitions and the same entropy; each also
has its own held-out sequences, whose sampling error (0.001 nats each) thereby enters
the interval.

Found: E 2.3589 [2.3581, 2.3598]; the excess falls as D^-1.04 [0.97, 1.13].
"""

from harness import WSD, AdamW, RunSpec, Sweep, Transformer, ZipfMarkov, product

BASE = RunSpec(
    model=Transformer(width=32, depth=1, heads=1),
    data=ZipfMarkov(vocab=16, context=32, unique_tokens=2**23, eval_sequences=16384),
    optimizer=AdamW(lr=5e-3),
    schedule=WSD(warmup=16),
    batch=32,
    evals_per_octave=1,
)
SWEEP = Sweep(
    product(BASE, {"seed_data": range(8), "steps": [2**k for k in range(8, 14)]})
)
