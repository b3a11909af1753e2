"""Multi-layer perceptron on vectors: shape and cost."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Literal, Self

from harness.count import ForwardFlops, Params
from harness.errors import SpecError
from harness.fields import at_least, spec
from harness.spec import ModelSpec, TaskShape


@spec
class MLP(ModelSpec):
    """`depth` hidden layers of `width` units, then a linear read-out."""

    family = "mlp"
    implementation = "harness.models.mlp:MLP"
    summary = "perceptron on vectors: width, depth, activation, bias"

    width: int
    depth: int = 2
    activation: Literal["relu", "gelu", "tanh"] = "relu"
    bias: bool = True

    def validate(self) -> None:
        at_least(self, 1, "width", "depth")

    def check(self, task: TaskShape) -> None:
        if task.kind != "vectors":
            raise SpecError(f"mlp reads vectors, not {task.kind}; use a token family")

    def layer_widths(self, task: TaskShape) -> list[int]:
        """w0 … wk: input, hidden layers, output."""
        return [task.inputs, *[self.width] * self.depth, task.outputs]

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
