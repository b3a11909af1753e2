"""Vision transformer: shape and cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

from harness.errors import SpecError
from harness.families.layers.spec import Init, check_options, check_reads
from harness.specs.base import at_least, spec
from harness.specs.run import ModelSpec
from harness.specs.task import ForwardFlops, Params, TaskShape


@spec
class ViT(ModelSpec):
    """Patches, learned positions, pre-norm encoder, mean pooling, read-out; no biases.

    Dosovitskiy et al. 2021 (arXiv:2010.11929) with the mean over patches in place of a
    class token (Beyer et al. 2022, arXiv:2205.01580) and the decoder's RMSNorm. `ffn`
    is the hidden width F, by default 4·width. `dropout` acts on the patches' embedding
    and on what each part adds to the stream. Default weights: LeCun's.
    """

    family = "vit"
    implementation = "harness.families.vit.module:ViT"
    summary = "vision transformer on images: width, depth, heads, patch, ffn, dropout"

    width: int
    depth: int
    heads: int
    patch: int = 4
    ffn: int | None = None
    dropout: float = 0.0
    init: Init = "default"
    sigma: float = 0.0

    def validate(self) -> None:
        at_least(self, 1, "width", "depth", "heads", "patch", "ffn")
        if self.width % self.heads:
            raise SpecError(
                f"width {self.width} is not divisible by heads {self.heads}"
            )
        check_options(self)

    def check(self, task: TaskShape) -> None:
        check_reads(self.family, task, ("images",), "transformer")
        if any(side % self.patch for side in task.size):
            raise SpecError(
                f"images of {task.size[0]}×{task.size[1]} do not divide into patches "
                f"of {self.patch}×{self.patch}; choose another patch"
            )

    @property
    def head_size(self) -> int:
        """K."""
        return self.width // self.heads

    @property
    def groups(self) -> int:
        """Key/value heads."""
        return self.heads

    @property
    def hidden(self) -> int:
        """F."""
        return 4 * self.width if self.ffn is None else self.ffn

    def patches(self, task: TaskShape) -> int:
        """T."""
        return (task.size[0] // self.patch) * (task.size[1] // self.patch)

    def params(self, task: TaskShape) -> Params:
        D, L = self.width, self.depth
        head = D * task.outputs
        stem = self.patch**2 * task.inputs * D
        return Params(
            embed=self.patches(task) * D,
            head=head,
            head_matrix=head,
            body_matrices=stem + L * (4 * D**2 + 2 * D * self.hidden),
            body_vectors=(2 * L + 1) * D,
        )

    def forward_flops(self, task: TaskShape) -> ForwardFlops:
        """Per image of T patches; every patch attends to every patch."""
        T, n = self.patches(task), self.params(task)
        attention = self.depth * 4 * T**2 * self.width
        total = 2 * T * n.body_matrices + attention + 2 * n.head_matrix
        stem = 2 * T * self.patch**2 * task.inputs * self.width
        return ForwardFlops(full=total, causal=total, raw_input=stem)

    @classmethod
    def candidates(
        cls, *, aspect: int = 32, head_size: int = 16, **options: Any
    ) -> Iterator[Self]:
        """Widths that are multiples of `head_size`, of depth width / `aspect`."""
        heads = 1
        while True:
            width = heads * head_size
            depth = max(1, round(width / aspect))
            yield cls(width=width, depth=depth, heads=heads, **options)
            heads += 1
