"""The optimisers that ship: their fields, and the size of their states.

Weight decay is decoupled (Loshchilov & Hutter 2019), is multiplied by the learning rate
of the step, and acts on matrices only.
"""

from __future__ import annotations

from typing import Literal

from harness.specs.base import at_least, spec
from harness.specs.optimizer import Optimizer, positive, shares
from harness.specs.task import Params

FLOAT = 4
"""Bytes of a float32, and of the counters of steps."""


@spec
class AdamW(Optimizer):
    """Adam (Kingma & Ba 2015) with decoupled weight decay."""

    name = "adamw"
    implementation = "harness.optimizers.update:adamw"
    normalised = True
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8

    def validate(self) -> None:
        Optimizer.validate(self)
        at_least(self, 0, "weight_decay")
        shares(self, "beta1", "beta2")
        positive(self, "eps")

    def state_bytes(self, n: Params) -> int:
        """Two moments and a counter."""
        return FLOAT * (2 * n.total + 1)

    def update_flops(self, n: Params) -> int:
        """No matrix products."""
        return 0


@spec
class SGD(Optimizer):
    """Gradient descent with a heavy ball of `momentum` (Polyak 1964), or Nesterov's."""

    name = "sgd"
    implementation = "harness.optimizers.update:sgd"
    weight_decay: float = 0.0
    momentum: float = 0.0
    nesterov: bool = False

    def validate(self) -> None:
        Optimizer.validate(self)
        at_least(self, 0, "weight_decay")
        shares(self, "momentum")

    def state_bytes(self, n: Params) -> int:
        """One moment."""
        return FLOAT * n.total

    def update_flops(self, n: Params) -> int:
        """No matrix products."""
        return 0


@spec
class Lion(Optimizer):
    """The sign of an interpolated momentum (Chen et al. 2023, arXiv:2302.06675)."""

    name = "lion"
    implementation = "harness.optimizers.update:lion"
    normalised = True
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.99

    def validate(self) -> None:
        Optimizer.validate(self)
        at_least(self, 0, "weight_decay")
        shares(self, "beta1", "beta2")

    def state_bytes(self, n: Params) -> int:
        """One moment and a counter."""
        return FLOAT * (n.total + 1)

    def update_flops(self, n: Params) -> int:
        """No matrix products."""
        return 0


@spec
class AdEMAMix(Optimizer):
    """Adam with a second, slow average of gradients, weighted by `alpha` (Pagliardini
    et al. 2024, arXiv:2409.03137), without the paper's warm-up of alpha and beta3."""

    name = "ademamix"
    implementation = "harness.optimizers.update:ademamix"
    normalised = True
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    beta3: float = 0.9999
    alpha: float = 5.0
    eps: float = 1e-8

    def validate(self) -> None:
        Optimizer.validate(self)
        at_least(self, 0, "weight_decay", "alpha")
        shares(self, "beta1", "beta2", "beta3")
        positive(self, "eps")

    def state_bytes(self, n: Params) -> int:
        """Three moments and two counters."""
        return FLOAT * (3 * n.total + 2)

    def update_flops(self, n: Params) -> int:
        """No matrix products."""
        return 0


@spec
class ScheduleFreeAdamW(Optimizer):
    """AdamW whose judged weights are an average of those it moves (Defazio et al. 2024,
    arXiv:2405.15682); made for the schedule `Constant` with a warm-up.

    Attributes:
        beta1: share of the average in the weights that gradients are taken at.
    """

    name = "schedule_free_adamw"
    implementation = "harness.optimizers.update:schedule_free_adamw"
    evaluation = "harness.optimizers.update:schedule_free_average"
    normalised = True
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8

    def validate(self) -> None:
        Optimizer.validate(self)
        at_least(self, 0, "weight_decay")
        shares(self, "beta1", "beta2")
        positive(self, "beta1", "eps")

    def state_bytes(self, n: Params) -> int:
        """The weights that move, a moment, and five numbers."""
        return FLOAT * (2 * n.total + 5)

    def update_flops(self, n: Params) -> int:
        """No matrix products."""
        return 0


@spec
class Adafactor(Optimizer):
    """Adam's second moment, of large matrices kept as row and column sums (Shazeer &
    Stern 2018, arXiv:1804.04235); no first moment.

    Attributes:
        decay_rate: the second moment of step t has decay 1 − t^−decay_rate.
        parameter_scale: whether rates are relative to the size of each array.
        threshold: root mean square that updates are cut to.
        factored_from: smallest of the two largest axes from which a matrix is factored.
    """

    name = "adafactor"
    implementation = "harness.optimizers.update:adafactor"
    weight_decay: float = 0.0
    decay_rate: float = 0.8
    threshold: float = 1.0
    eps: float = 1e-30
    parameter_scale: bool = True
    factored_from: int = 128

    def validate(self) -> None:
        Optimizer.validate(self)
        at_least(self, 0, "weight_decay")
        at_least(self, 1, "factored_from")
        positive(self, "decay_rate", "threshold", "eps")

    def update_flops(self, n: Params) -> int:
        """No matrix products."""
        return 0


@spec
class Muon(Optimizer):
    """Orthogonalised momentum for hidden matrices, AdamW for the rest (Jordan et al.
    2024; Liu et al. 2025, arXiv:2502.16982).

    Hidden are all arrays of two or more axes but those of the embedding, the positions,
    the stem and the head; of a stack of matrices each is orthogonalised by itself.

    Attributes:
        scaling: "width" multiplies updates by √max(1, outputs / inputs); "rms" by
            0.2 · √max(inputs, outputs), so that AdamW's rates and decay carry over.
        newton_schulz: iterations of the orthogonalisation.
        adam_share: learning rate of AdamW over that of the hidden matrices.
    """

    name = "muon"
    implementation = "harness.optimizers.update:muon"
    weight_decay: float = 0.0
    momentum: float = 0.95
    nesterov: bool = True
    scaling: Literal["rms", "width"] = "rms"
    newton_schulz: int = 5
    adam_share: float = 1.0
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8

    def validate(self) -> None:
        Optimizer.validate(self)
        at_least(self, 0, "weight_decay", "adam_share")
        at_least(self, 1, "newton_schulz")
        shares(self, "momentum", "beta1", "beta2")
        positive(self, "eps")
