"""A linear model on fixed random features: shape and cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

from harness.errors import SpecError
from harness.specs.base import at_least, spec
from harness.specs.run import ModelSpec
from harness.specs.task import ForwardFlops, Params, TaskShape


@spec
class RandomFeatures(ModelSpec):
    """`width` trained weights, from zero, on as many fixed projections of the input.

    The projections are Gaussian with variance 1 / `width`, drawn by `features_seed`;
    they are part of what the model is, not parameters (Maloney et al. 2022,
    arXiv:2210.16859; Paquette et al. 2024, arXiv:2405.15074).
    """

    family = "random_features"
    implementation = "harness.families.random_features.module:RandomFeatures"
    summary = "linear model on fixed random features: width, features_seed"

    width: int
    features_seed: int = 0

    def validate(self) -> None:
        at_least(self, 1, "width")
        at_least(self, 0, "features_seed")

    def check(self, task: TaskShape) -> None:
        if task.kind != "vectors":
            raise SpecError(f"random_features reads vectors, not {task.kind}")

    def params(self, task: TaskShape) -> Params:
        weights = self.width * task.outputs
        return Params(embed=0, head=weights, head_matrix=weights, body_matrices=0)

    def forward_flops(self, task: TaskShape) -> ForwardFlops:
        projection = 2 * task.inputs * self.width
        readout = 2 * self.width * task.outputs
        full = projection + readout
        # The projection is never differentiated, the read-out only by its weights.
        return ForwardFlops(full=full, causal=full, raw_input=2 * projection + readout)

    @classmethod
    def candidates(cls, **options: Any) -> Iterator[Self]:
        """Every width, smallest first."""
        width = 1
        while True:
            yield cls(width=width, **options)
            width += 1 + width // 64
