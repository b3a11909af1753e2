"""Multi-layer perceptron: shape and cost."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Self

from harness.families.layers.spec import Activation, Init, check_options, check_reads
from harness.specs.base import added, at_least, spec
from harness.specs.run import ModelSpec
from harness.specs.task import ForwardFlops, Params, TaskShape


@spec
class MLP(ModelSpec):
    """`depth` hidden layers of `width` units, then a linear read-out.

    Images and sequences are read as one vector. `dropout` follows each hidden layer.
    Default weights: He's for activations that cut the negative half, LeCun's else.
    """

    family = "mlp"
    implementation = "harness.families.mlp.module:MLP"
    summary = "perceptron on vectors or images: width, depth, activation, dropout, muP"

    width: int
    depth: int = 2
    activation: Activation = "relu"
    bias: bool = True
    dropout: float = added(default=0.0)
    init: Init = added(default="default")
    sigma: float = added(default=0.0)
    mup_base: int = added(default=0)

    def validate(self) -> None:
        at_least(self, 1, "width", "depth")
        check_options(self)

    def check(self, task: TaskShape) -> None:
        kinds = ("vectors", "images", "sequences")
        check_reads(self.family, task, kinds, "a token family")

    def layer_widths(self, task: TaskShape) -> list[int]:
        """w0 … wk: input, hidden layers, output."""
        inputs = task.inputs * task.length * math.prod(task.size)
        return [inputs, *[self.width] * self.depth, task.outputs]

    def params(self, task: TaskShape) -> Params:
        *hidden, head = [i * o for i, o in pairwise(self.layer_widths(task))]
        return Params(
            embed=0,
            head=head + self.bias * task.outputs,
            head_matrix=head,
            body_matrices=sum(hidden),
            body_vectors=self.bias * self.width * self.depth,
        )

    def forward_flops(self, task: TaskShape) -> ForwardFlops:
        layers = [2 * i * o for i, o in pairwise(self.layer_widths(task))]
        return ForwardFlops(full=sum(layers), causal=sum(layers), raw_input=layers[0])

    @classmethod
    def candidates(cls, *, depth: int = 2, **options: Any) -> Iterator[Self]:
        """Every width at one `depth`, smallest first."""
        width = 1
        while True:
            yield cls(width=width, depth=depth, **options)
            width += 1 + width // 64
