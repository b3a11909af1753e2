"""Plain convolutional network: shape and cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal, Self

from harness.errors import SpecError
from harness.families.layers.spec import (
    Activation,
    Init,
    check_options,
    check_reads,
    convolved,
)
from harness.specs.base import at_least, spec
from harness.specs.run import ModelSpec
from harness.specs.task import ForwardFlops, Params, TaskShape


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One convolution as it meets its images: sizes and weights."""

    inputs: int
    outputs: int
    height: int
    width: int
    """Size of the output, before pooling."""
    pooled: bool


@spec
class CNN(ModelSpec):
    """Convolutions, some followed by 2×2 pooling; then dense layers and a read-out.

    `channels` of each convolution; the first `pools` of them (by default all) are
    pooled; `hidden` is the width of the dense layer before the read-out, 0 for none.
    `dropout` acts on what enters the dense layers. Default weights as for `mlp`.
    """

    family = "cnn"
    implementation = "harness.families.cnn.module:CNN"
    summary = "conv-pool stack on images: channels, pools, kernel, padding, hidden"

    channels: tuple[int, ...]
    pools: int | None = None
    kernel: int = 3
    padding: Literal["same", "valid"] = "same"
    pool: Literal["max", "mean"] = "max"
    hidden: int = 0
    activation: Activation = "relu"
    bias: bool = True
    dropout: float = 0.0
    init: Init = "default"
    sigma: float = 0.0

    def validate(self) -> None:
        at_least(self, 1, "kernel")
        at_least(self, 0, "pools", "hidden")
        if not self.channels or min(self.channels) < 1:
            raise SpecError(f"channels {self.channels}: give at least one, each ≥ 1")
        if self.n_pools > len(self.channels):
            raise SpecError(
                f"pools {self.pools} is more than the {len(self.channels)} convolutions"
            )
        check_options(self)

    @property
    def n_pools(self) -> int:
        return len(self.channels) if self.pools is None else self.pools

    def check(self, task: TaskShape) -> None:
        check_reads(self.family, task, ("images",), "mlp or rnn")
        if min(min(s.height, s.width) >> s.pooled for s in self.stages(task)) < 1:
            raise SpecError(
                f"images of {task.size[0]}×{task.size[1]} shrink to nothing in "
                f"{len(self.channels)} convolutions with {self.n_pools} pools; use "
                "fewer, or padding='same'"
            )

    def stages(self, task: TaskShape) -> list[Stage]:
        """The convolutions on images of `task`, in order."""
        (height, width), inputs, out = task.size, task.inputs, []
        for index, outputs in enumerate(self.channels):
            height = convolved(height, self.kernel, 1, self.padding)
            width = convolved(width, self.kernel, 1, self.padding)
            pooled = index < self.n_pools
            out.append(
                Stage(
                    inputs=inputs,
                    outputs=outputs,
                    height=height,
                    width=width,
                    pooled=pooled,
                )
            )
            height, width, inputs = height >> pooled, width >> pooled, outputs
        return out

    def dense(self, task: TaskShape) -> list[tuple[int, int]]:
        """(inputs, outputs) of the dense layers; the last is the read-out."""
        last = self.stages(task)[-1]
        flat = (last.height >> last.pooled) * (last.width >> last.pooled) * last.outputs
        if not self.hidden:
            return [(flat, task.outputs)]
        return [(flat, self.hidden), (self.hidden, task.outputs)]

    def params(self, task: TaskShape) -> Params:
        kernels = [self.kernel**2 * s.inputs * s.outputs for s in self.stages(task)]
        *hidden, head = [i * o for i, o in self.dense(task)]
        return Params(
            embed=0,
            head=head + self.bias * task.outputs,
            head_matrix=head,
            body_matrices=sum(kernels) + sum(hidden),
            body_vectors=self.bias * (sum(self.channels) + self.hidden),
        )

    def forward_flops(self, task: TaskShape) -> ForwardFlops:
        """Every output pixel costs k²·in·out multiply-adds, at the border too."""
        convolutions = [
            2 * s.height * s.width * self.kernel**2 * s.inputs * s.outputs
            for s in self.stages(task)
        ]
        total = sum(convolutions) + sum(2 * i * o for i, o in self.dense(task))
        return ForwardFlops(full=total, causal=total, raw_input=convolutions[0])

    @classmethod
    def candidates(
        cls, *, channels: tuple[int, ...] = (1, 2), hidden: int = 0, **options: Any
    ) -> Iterator[Self]:
        """All widths in the proportions of `channels` and `hidden`, smallest first."""
        factor = 1
        while True:
            wider = tuple(factor * c for c in channels)
            yield cls(channels=wider, hidden=factor * hidden, **options)
            factor += 1 + factor // 64
