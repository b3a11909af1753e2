"""Recurrent networks: shape and cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Self

from harness.families.layers.spec import Init, check_options, check_reads, read_outs
from harness.specs.base import at_least, spec
from harness.specs.run import ModelSpec
from harness.specs.task import ForwardFlops, Params, TaskShape

GATES = {"simple": 1, "gru": 3, "lstm": 4}
"""Matrices that read the input, and as many that read the state."""


@spec
class RNN(ModelSpec):
    """`depth` recurrent layers of `width` units, one after another; then a read-out.

    `cell`: "simple" h' = tanh(Wx + Uh + b) (Elman 1990), "gru" (Cho et al. 2014; the
    reset gate acts on Uh, as in cuDNN), "lstm" (Hochreiter & Schmidhuber 1997, with a
    forget bias that starts at 1). Token ids are looked up in a table of `width`
    columns. A class is read from the last state. `dropout` acts on what the table and
    each layer hand on, never along time (Zaremba et al. 2014). Default weights:
    LeCun's.
    """

    family = "rnn"
    implementation = "harness.families.rnn.module:RNN"
    summary = "recurrent, tokens or sequences: width, depth, cell simple|gru|lstm"

    width: int
    depth: int = 1
    cell: Literal["simple", "gru", "lstm"] = "lstm"
    dropout: float = 0.0
    init: Init = "default"
    sigma: float = 0.0

    def validate(self) -> None:
        at_least(self, 1, "width", "depth")
        check_options(self)

    def check(self, task: TaskShape) -> None:
        check_reads(self.family, task, ("tokens", "sequences"), "mlp or cnn")

    @property
    def gates(self) -> int:
        return GATES[self.cell]

    def layer_inputs(self, task: TaskShape) -> list[int]:
        """Size of what enters each layer."""
        first = self.width if task.kind == "tokens" else task.inputs
        return [first, *[self.width] * (self.depth - 1)]

    def params(self, task: TaskShape) -> Params:
        H = self.width
        head = H * task.outputs
        matrices = [self.gates * H * (i + H) for i in self.layer_inputs(task)]
        return Params(
            embed=task.inputs * H if task.kind == "tokens" else 0,
            head=head + task.outputs,
            head_matrix=head,
            body_matrices=sum(matrices),
            body_vectors=self.depth * self.gates * H,
        )

    def forward_flops(self, task: TaskShape) -> ForwardFlops:
        """Per example of T steps, the product with the first, zero state included."""
        T, n = task.length, self.params(task)
        total = 2 * T * n.body_matrices + 2 * read_outs(task) * n.head_matrix
        raw = 0
        if task.kind == "sequences":
            raw = 2 * T * self.gates * task.inputs * self.width
        return ForwardFlops(full=total, causal=total, raw_input=raw)

    @classmethod
    def candidates(cls, *, depth: int = 1, **options: Any) -> Iterator[Self]:
        """Every width at one `depth`, smallest first."""
        width = 1
        while True:
            yield cls(width=width, depth=depth, **options)
            width += 1 + width // 64
