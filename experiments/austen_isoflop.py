"""Which model size is best for a compute budget, on Jane Austen's bytes?

Cost: about 30 minutes on 2 CPU cores.
Promise: six isoFLOP curves over 1.5 decades of compute with all six minima inside the
grid, the exponent of N* by three approaches, and the noise between seeds.

Found (2 AMD EPYC cores, November 2026), N counted as n_matmul:

- N* grows as C^0.68 [0.57, 0.99] by the isoFLOP minima and as C^0.51 [0.37, 0.67] by
  the Chinchilla law; counted as n_total 0.61 and 0.48, as n_body 0.80 and 0.59. The
  estimators and conventions differ by as much as those of the literature do, and 1.5
  decades do not settle which is right.
- E 1.32 [1.05, 1.45], alpha 0.60 [0.29, 0.96], beta 0.61 [0.44, 0.86]; rms residual
  1.8 %. Fitted below a cutoff, the law misses the budgets above it by 2.6 to 3.5 %.
- Noise: at 4e11 FLOPs three seeds scatter by 0.004 to 0.017 nats from 13k parameters on
  (beside a standard error of 0.008 over the held-out sequences, which is common to all
  runs), but by 0.07 nats at 7k, where a longer run can end worse than a shorter one.
- 11 of the 53 runs see data more than once (up to 5.2 epochs), the small models at the
  large budgets: their loss is an upper bound of what fresh text would give.
"""

from harness import (
    WSD,
    AdamW,
    RunSpec,
    Sweep,
    Text,
    Transformer,
    chain,
    isoflop,
    ladder,
    recipe,
    with_seeds,
)

BUDGETS = [1e11 * 2**k for k in range(6)]
SIZES = [7e3, 1.3e4, 2e4, 3e4, 6.5e4, 1.2e5, 1.75e5, 3.5e5]
WINDOW = (0.6, 1000)
REPEATED = BUDGETS[2]

DATA = Text(corpus="austen", context=128, eval_sequences=512)
MODELS = ladder(Transformer, SIZES, DATA.shape, head_size=8)
BASE = RunSpec(
    model=MODELS[0],
    data=DATA,
    optimizer=AdamW(lr=1e-3),
    schedule=WSD(),
    batch=8,
    evals_per_octave=2,
)

GRID = isoflop(BASE, MODELS, BUDGETS, tokens_per_parameter=WINDOW)
ONE_BUDGET = isoflop(BASE, MODELS, [REPEATED], tokens_per_parameter=WINDOW)
AGAIN = with_seeds(ONE_BUDGET, [1, 2])
SWEEP = Sweep(recipe.small_language_model(chain(GRID, AGAIN), warmup_tokens=1.2e4))
