"""Decoder-only transformer: shape and cost."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal, Self

from harness.errors import SpecError
from harness.families.layers.spec import Init, check_options, check_reads, read_outs
from harness.specs.base import added, at_least, spec
from harness.specs.run import ModelSpec
from harness.specs.task import ForwardFlops, Params, TaskShape


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

    `experts` E > 0 makes each feed-forward a mixture: a router sends every token to its
    `top_k` best of E experts of hidden width F (Shazeer et al. 2017). Each expert takes
    at most `capacity`·top_k·T/E tokens of a sequence, earlier ones first, so that no
    token depends on later ones or on other sequences; what it cannot take is dropped
    there, and the share is the metric `dropped`. `capacity` 0 drops none, at the price
    of E/top_k times the counted work. `balance` weighs the load-balancing loss of
    Fedus et al. 2022 (arXiv:2101.03961, eq. 4), a mean over layers.

    A class is read from the last token. `dropout` acts on the embedding and on what
    each part adds to the stream. `mup_base` assumes heads of one size. Default weights:
    LeCun's.
    """

    family = "transformer"
    implementation = "harness.families.transformer.module:Transformer"
    summary = "decoder on tokens: width, depth, heads, ffn, mlp, experts, dropout, muP"

    width: int
    depth: int
    heads: int
    kv_heads: int | None = None
    ffn: int | None = None
    mlp: Literal["gelu", "swiglu"] = "gelu"
    positions: Literal["rotary", "learned"] = "rotary"
    tied: bool = False
    dropout: float = added(default=0.0)
    init: Init = added(default="default")
    sigma: float = added(default=0.0)
    mup_base: int = added(default=0)
    experts: int = added(default=0)
    top_k: int = added(default=2)
    capacity: float = added(default=1.25)
    balance: float = added(default=0.01)

    def validate(self) -> None:
        at_least(self, 1, "width", "depth", "heads", "kv_heads", "ffn", "top_k")
        at_least(self, 0, "experts", "capacity", "balance")
        check_options(self)
        self._check_experts()
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

    def _check_experts(self) -> None:
        if self.experts and self.top_k > self.experts:
            raise SpecError(
                f"top_k {self.top_k} is more than the {self.experts} experts"
            )
        for name in () if self.experts else ("top_k", "capacity", "balance"):
            value = getattr(self, name)
            if value != self.__dataclass_fields__[name].default:
                raise SpecError(f"{name} {value} has no effect without experts")

    def check(self, task: TaskShape) -> None:
        check_reads(self.family, task, ("tokens",), "mlp")
        if self.tied and task.target != "next_token":
            raise SpecError("a tied head predicts tokens; use tied=False for classes")

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
    def feed_forward_weights(self) -> int:
        """Weights of one feed-forward, or of one expert."""
        matrices = 2 if self.mlp == "gelu" else 3
        return matrices * self.width * self.hidden

    @property
    def _layer_matrices(self) -> int:
        attention = 2 * self.width**2 + 2 * self.width * self.groups * self.head_size
        router = self.experts * self.width
        return attention + router + max(1, self.experts) * self.feed_forward_weights

    def params(self, task: TaskShape) -> Params:
        head = task.outputs * self.width
        learned = task.length * self.width if self.positions == "learned" else 0
        idle = max(0, self.experts - self.top_k)
        return Params(
            embed=task.inputs * self.width + learned,
            head=0 if self.tied else head,
            head_matrix=head,
            body_matrices=self.depth * self._layer_matrices,
            body_vectors=(2 * self.depth + 1) * self.width,
            inactive=self.depth * idle * self.feed_forward_weights,
        )

    def slots(self, task: TaskShape) -> int:
        """Tokens of a sequence that one expert has room for."""
        T = task.length
        room = math.ceil(self.capacity * self.top_k * T / self.experts)
        return min(T, room) if self.capacity else T

    def forward_flops(self, task: TaskShape) -> ForwardFlops:
        """Per sequence of T tokens; attention scores and mixing cost 4·T²·A a layer.

        Of a mixture of experts, the weights that each token is routed to.
        """
        T, V, n = task.length, task.outputs, self.params(task)
        active = n.body_matrices - n.inactive
        matmuls = 2 * T * active + 2 * read_outs(task) * n.head_matrix
        attention = self.depth * 4 * T**2 * self.width
        extra = 2 * T * V * self.width + self.depth * 3 * self.heads * T**2
        in_their_table = task.target == "next_token" and not self.experts
        return ForwardFlops(
            full=matmuls + attention,
            causal=matmuls + attention // 2,
            chinchilla=matmuls + attention + extra if in_their_table else None,
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
