"""Gated linear recurrence: shape and cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

from harness.families.layers.spec import Init, check_options, check_reads, read_outs
from harness.specs.base import at_least, spec
from harness.specs.run import ModelSpec
from harness.specs.task import ForwardFlops, Params, TaskShape


@spec
class LinearRNN(ModelSpec):
    """Residual blocks of a gated linear recurrence and a GELU feed-forward.

    The state of each channel is a running mean whose forgetting the input decides,
    h_t = a_t·h_(t-1) + (1 - a_t)·c_t with a_t = σ(W_a x_t + b), c_t = W_c x_t, and the
    block writes W_o (h_t · silu(W_g x_t)): linear in h, hence computed for all t by an
    associative scan (Martin & Cundy 2018, arXiv:1709.04057; as in HGRN, Qin et al.
    2023). It mixes tokens with 4·width² weights, as attention does, so equal shapes
    have equal `n_matmul` in both families. `ffn` is the hidden width F, by default
    4·width. A class is read from the last position. `dropout` acts on the embedding
    and on what each part adds to the stream. Default weights: LeCun's.
    """

    family = "linear_rnn"
    implementation = "harness.families.linear_rnn.module:LinearRNN"
    summary = "gated linear recurrence, tokens or sequences: width, depth, ffn, dropout"

    width: int
    depth: int
    ffn: int | None = None
    dropout: float = 0.0
    init: Init = "default"
    sigma: float = 0.0

    def validate(self) -> None:
        at_least(self, 1, "width", "depth", "ffn")
        check_options(self)

    def check(self, task: TaskShape) -> None:
        check_reads(self.family, task, ("tokens", "sequences"), "mlp or cnn")

    @property
    def hidden(self) -> int:
        """F."""
        return 4 * self.width if self.ffn is None else self.ffn

    def params(self, task: TaskShape) -> Params:
        D, L = self.width, self.depth
        head = D * task.outputs
        tokens = task.kind == "tokens"
        return Params(
            embed=task.inputs * D if tokens else 0,
            head=head,
            head_matrix=head,
            body_matrices=L * (4 * D**2 + 2 * D * self.hidden)
            + (0 if tokens else task.inputs * D),
            # Two norms and the forget bias a layer, and the last norm.
            body_vectors=(3 * L + 1) * D,
        )

    def forward_flops(self, task: TaskShape) -> ForwardFlops:
        """Per example of T steps; the scan is element-wise and counts 0."""
        T, n = task.length, self.params(task)
        total = 2 * T * n.body_matrices + 2 * read_outs(task) * n.head_matrix
        raw = 0 if task.kind == "tokens" else 2 * T * task.inputs * self.width
        return ForwardFlops(full=total, causal=total, raw_input=raw)

    @classmethod
    def candidates(
        cls, *, aspect: int = 32, step: int = 8, **options: Any
    ) -> Iterator[Self]:
        """Widths that are multiples of `step`, of depth width / `aspect`."""
        width = step
        while True:
            yield cls(width=width, depth=max(1, round(width / aspect)), **options)
            width += step
