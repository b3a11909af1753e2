"""Residual convolutional network, CIFAR style: shape and cost."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, Self

from harness.errors import SpecError
from harness.families.layers.spec import Init, check_options, check_reads, convolved
from harness.specs.base import at_least, spec
from harness.specs.run import ModelSpec
from harness.specs.task import ForwardFlops, Params, TaskShape


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ResidualBlock:
    """Two 3×3 convolutions and, where the shape changes, a 1×1 projection."""

    inputs: int
    outputs: int
    stride: int

    @property
    def projected(self) -> bool:
        return self.stride > 1 or self.inputs != self.outputs

    @property
    def weights(self) -> int:
        """All of them act on each output pixel once."""
        convolutions = 9 * self.outputs * (self.inputs + self.outputs)
        return convolutions + self.projected * self.inputs * self.outputs


@spec
class ResNet(ModelSpec):
    """Pre-activation residual network (He et al. 2016, arXiv:1603.05027).

    A 3×3 stem of `width` channels, `stages` stages of `blocks` blocks (each stage after
    the first halves the image and doubles the channels), mean pooling, read-out. With
    3 stages that is the CIFAR network of 6·`blocks` + 2 layers; `width` 16·k is the
    wide one (Zagoruyko & Komodakis 2016). Normalisation in gcd(`width`, 8) groups of
    channels (Wu & He 2018) keeps a model a pure function of its parameters.
    `dropout` lies between the two convolutions. Default weights: He's.
    """

    family = "resnet"
    implementation = "harness.families.resnet.module:ResNet"
    summary = "residual network on images: width, blocks per stage, stages, dropout"

    width: int
    blocks: int = 1
    stages: int = 3
    dropout: float = 0.0
    init: Init = "default"
    sigma: float = 0.0

    def validate(self) -> None:
        at_least(self, 1, "width", "blocks", "stages")
        if self.stages > 8:
            raise SpecError(f"stages {self.stages} is more than 8")
        check_options(self)

    @property
    def groups(self) -> int:
        """Groups of channels that are normalised together."""
        return math.gcd(self.width, 8)

    def check(self, task: TaskShape) -> None:
        check_reads(self.family, task, ("images",), "mlp or rnn")

    def layout(self) -> list[ResidualBlock]:
        """The blocks in order."""
        inputs, out = self.width, []
        for stage in range(self.stages):
            for block in range(self.blocks):
                outputs = self.width << stage
                stride = 2 if stage and not block else 1
                out.append(ResidualBlock(inputs=inputs, outputs=outputs, stride=stride))
                inputs = outputs
        return out

    def params(self, task: TaskShape) -> Params:
        layout = self.layout()
        features = layout[-1].outputs
        # Gain and shift of two norms a block, and of the last one.
        norms = sum(2 * (b.inputs + b.outputs) for b in layout) + 2 * features
        return Params(
            embed=0,
            head=(features + 1) * task.outputs,
            head_matrix=features * task.outputs,
            body_matrices=9 * task.inputs * self.width + sum(b.weights for b in layout),
            body_vectors=norms,
        )

    def forward_flops(self, task: TaskShape) -> ForwardFlops:
        height, width = task.size
        stem = 2 * height * width * 9 * task.inputs * self.width
        total = stem
        for block in self.layout():
            height = convolved(height, 3, block.stride, "same")
            width = convolved(width, 3, block.stride, "same")
            # The block's first convolution already has the output's size.
            total += 2 * height * width * block.weights
        total += 2 * self.layout()[-1].outputs * task.outputs
        return ForwardFlops(full=total, causal=total, raw_input=stem)

    @classmethod
    def candidates(
        cls, *, blocks: int = 1, step: int = 1, **options: Any
    ) -> Iterator[Self]:
        """Widths that are multiples of `step` at one depth, smallest first."""
        width = step
        while True:
            yield cls(width=width, blocks=blocks, **options)
            width += step * (1 + width // (64 * step))
