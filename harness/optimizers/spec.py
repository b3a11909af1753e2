"""The optimisers and schedules that ship: what each reads, keeps and is computed by.

To add one, write a class here, or in an experiment file, and the function that it
names.
"""

from __future__ import annotations

from harness.specs.optim import Optimizer, OptimSpec, Schedule


class AdamW(Optimizer):
    """Adam (Kingma & Ba 2015), weight decay decoupled (Loshchilov & Hutter 2019)."""

    optimizer = "adamw"
    implementation = "harness.optimizers.update:adam"
    reads = ("beta1", "beta2", "eps")
    moments = 2
    normalised = True


class SGD(Optimizer):
    """Gradient descent with a heavy ball of `momentum` (Polyak 1964)."""

    optimizer = "sgd"
    implementation = "harness.optimizers.update:heavy_ball"
    reads = ("momentum",)
    moments = 1


class WSD(Schedule):
    """Constant, then a cooldown along 1 − √x (Hägele et al. 2024, arXiv:2405.18392)."""

    schedule = "wsd"
    implementation = "harness.optimizers.schedules:square_root"
    reads = ("cooldown", "final")
    anneals = True

    @classmethod
    def decay_start(cls, optim: OptimSpec, steps: int) -> int:
        """The last `cooldown` share of the steps, at least one, is the decay."""
        return steps - max(1, round(optim.cooldown * steps))


class Cosine(Schedule):
    """Half a cosine over all steps after the warm-up (Loshchilov & Hutter 2017)."""

    schedule = "cosine"
    implementation = "harness.optimizers.schedules:half_cosine"
    reads = ("final",)
    anneals = True

    @classmethod
    def decay_start(cls, optim: OptimSpec, steps: int) -> int:
        """The decay follows the warm-up."""
        return min(optim.warmup, steps)


class Constant(Schedule):
    """No decay: what a run of any length shares with longer ones is all of it."""

    schedule = "constant"
    implementation = "harness.optimizers.schedules:unchanged"
    anneals = False

    @classmethod
    def decay_start(cls, optim: OptimSpec, steps: int) -> int:
        """No step decays."""
        return steps
