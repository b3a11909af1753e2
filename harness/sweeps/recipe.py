"""Named rules that set hyperparameters from scale: pure functions.

A recipe is opinionated and says where its numbers come from. It takes and returns a
list of points; write your own with `with_recipe(points, function_of_a_run)`. It sets
each run from that run and from constants alone: the id of a run never depends on which
other runs a sweep has.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from harness.errors import SpecError
from harness.specs.base import number
from harness.specs.run import RunSpec
from harness.sweeps.assign import assign
from harness.sweeps.sweep import Point, with_recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class LearningRate:
    """The rule LR* = k · N^n · D^d · B^batch, as `harness tune` prints it.

    N counts parameters as `counted` says, D is in tokens or examples, B in examples a
    step. A rule holds where it was fitted: far beyond, tune a few sizes again.
    """

    k: float
    n: float = 0.0
    d: float = 0.0
    batch: float = 0.0
    counted: Literal["matmul", "total", "body"] = "matmul"

    def of(self, run: RunSpec) -> float:
        """The learning rate of a run."""
        size = getattr(run.model.params(run.data.shape), self.counted)
        return float(self.k * size**self.n * run.tokens**self.d * run.batch**self.batch)


def tuned(points: Iterable[Point], rule: LearningRate) -> list[Point]:
    """Each run with the learning rate of a rule that was fitted to tuned runs.

    Where the rule has an exponent of D, runs of different length have different rates
    and share no trunk.
    """

    def set_rate(run: RunSpec) -> RunSpec:
        return assign(run, {"optimizer.lr": rule.of(run)})

    return with_recipe(points, set_rate)


def learning_rate(n: int) -> float:
    """AdamW learning rate 8e-3 · (n / 1e5)^-1/4 for `n` matmul parameters.

    Read off sweeps over 2e-3 … 3.2e-2 at n = 7k, 20k and 115k on bytes with 1,024
    tokens a step: the minimum lies between 4e-3 and 1.6e-2 in each and is flat to
    0.02 nats within a factor of two. Untested far outside that range.
    """
    return float(8e-3 * (n / 1e5) ** -0.25)


def warmup_steps(n: int, tokens_per_step: int, most_tokens: float) -> int:
    """About `n` tokens of warm-up, as Porian et al. 2024 (arXiv:2406.19146) advise.

    At most `most_tokens`, but at least one step. `most_tokens` must be the same for all
    budgets: only then do runs of different length share one trunk.
    """
    return max(1, math.floor(min(n, most_tokens) / tokens_per_step))


def small_language_model(
    points: Iterable[Point], *, warmup_tokens: float
) -> list[Point]:
    """Each run with AdamW for byte-level transformers of 1e4 … 1e6 parameters.

    `warmup_tokens` is the most tokens of warm-up: a constant of the experiment, about a
    tenth of the shortest budget that it will ever have. It is not read off the sweep,
    so that a run keeps its id when others are added.
    """
    if not number(warmup_tokens, float, "warmup_tokens") > 0:
        raise SpecError(f"warmup_tokens {warmup_tokens:g} is not positive")

    def set_optimiser(run: RunSpec) -> RunSpec:
        n = run.model.params(run.data.shape).matmul
        warmup = warmup_steps(n, run.tokens_per_step, warmup_tokens)
        return assign(
            run,
            {
                "optimizer.lr": learning_rate(n),
                "optimizer.weight_decay": 0.1,
                "schedule.warmup": warmup,
            },
        )

    return with_recipe(points, set_optimiser)
