"""x"""

from harness import OptimSpec, RunSpec, Sweep, Text, Transformer, ladder, product

DATA = Text(context=128, eval_sequences=128)
SIZES = ladder(Transformer, [8e3, 2e4, 5e4, 1.2e5], DATA.shape)
BASE = RunSpec(model=SIZES[0], data=DATA, optim=OptimSpec(lr=3e-3, warmup=20), batch=8)
SWEEP = Sweep(product(BASE, {"model": SIZES, "tokens": [2e5, 4e5, 8e5, 1.6e6]}))
