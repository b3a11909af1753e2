"""Decoder-only transformer: shape and cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Self

from harness.count import ForwardFlops, Params
from harness.errors import SpecError
from harness.fields import at_least, spec
from harness.spec import ModelSpec, TaskShape


def _divisors(number: int) -> list[int]:
    return [k for k in range(1, number + 1) if number % k == 0]


def _listed(values: list[int]) -> str:
    shown = ", ".join(map(str, values[:6]))
    return f"{{{shown}, …}}" if len(values) > 6 else f"{{{shown}}}"


@spec
class Transformer(ModelSpec):
    """Pre-norm decoder: RMSNorm, causal attention, feed-forward; no biases.

    `kv_heads` below `heads` is grouped-query attention. `ffn` is the hidden width F of
    the feed-forward: by default 4·width for "gelu", and for "swiglu" the multiple of 8
    nearest to 8/3·width, so that both hold about the same number of weights.
    """

    family = "transformer"
    implementation = "harness.models.transformer:Transformer"
    summary = "decoder on tokens: width, depth, heads, kv_heads, ffn, mlp, positions"

    width: int
    depth: int
    heads: int
    kv_heads: int | None = None
    ffn: int | None = None
    mlp: Literal["gelu", "swiglu"] = "gelu"
    positions: Literal["rotary", "learned"] = "rotary"
    tied: bool = False

    def validate(self) -> None:
        at_least(self, 1, "width", "depth", "heads", "kv_heads", "ffn")
        if self.width % self.heads:
            raise SpecError(
                f"width {self.width} is not divisible by heads {self.heads}; "
                f"use heads in {_listed(_divisors(self.width))}"
            )
        if self.heads % self.groups:
            raise SpecError(
                f"heads {self.heads} is not divisible by kv_heads {self.groups}; "
                f"use kv_heads in {_listed(_divisors(self.heads))}"
            )
        if self.positions == "rotary" and self.head_size % 2:
            raise SpecError(
                f"rotary positions need an even head size, not width {self.width} / "
                f"heads {self.heads} = {self.head_size}; use positions='learned'"
            )

    def check(self, task: TaskShape) -> None:
        if task.kind != "tokens":
            raise SpecError(f"transformer reads tokens, not {task.kind}; try mlp")

    @property
    def head_size(self) -> int:
        """K."""
        return self.width // self.heads

    @property
    def groups(self) -> int:
        """Key/value heads."""
        return self.heads if self.kv_heads is None else self.kv_heads

    @property
    def hidden(self) -> int:
        """F."""
        if self.ffn is not None:
            return self.ffn
        gated = max(8, 8 * round(self.width / 3))
        return 4 * self.width if self.mlp == "gelu" else gated

    @property
    def _layer_matrices(self) -> int:
        attention = 2 * self.width**2 + 2 * self.width * self.groups * self.head_size
        matrices = 2 if self.mlp == "gelu" else 3
        return attention + matrices * self.width * self.hidden

    def params(self, task: TaskShape) -> Params:
        table = task.inputs * self.width
        learned = task.length * self.width if self.positions == "learned" else 0
        return Params(
            embed=table + learned,
            head=0 if self.tied else table,
            head_matrix=table,
            body_matrices=self.depth * self._layer_matrices,
            body_vectors=(2 * self.depth + 1) * self.width,
        )

    def forward_flops(self, task: TaskShape) -> ForwardFlops:
        """Per sequence of T tokens; attention scores and mixing cost 4·T²·A a layer."""
        T, V = task.length, task.outputs
        matmuls = 2 * T * (self.depth * self._layer_matrices + V * self.width)
        attention = self.depth * 4 * T**2 * self.width
        extra = 2 * T * V * self.width + self.depth * 3 * self.heads * T**2
        return ForwardFlops(
            full=matmuls + attention,
            causal=matmuls + attention // 2,
            chinchilla=matmuls + attention + extra,
        )

    @classmethod
    def candidates(
        cls, *, aspect: int = 32, head_size: int = 16, **options: Any
    ) -> Iterator[Self]:
        """Models of nearly constant width / depth = `aspect`, smallest first.

        Widths are multiples of `head_size`; the depth is width / aspect, at least 1.
        """
        heads = 1
        while True:
            width = heads * head_size
            depth = max(1, round(width / aspect))
            yield cls(width=width, depth=depth, heads=heads, **options)
            heads += 1
