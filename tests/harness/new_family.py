"""A family as a user would add one: a low-rank bigram table."""

import jax
from flax import nnx

from harness.specs.base import spec
from harness.specs.run import ModelSpec
from harness.specs.task import ForwardFlops, Params, TaskShape


@spec
class Bigram(ModelSpec):
    """Predicts the next token from the present one through `rank` numbers."""

    family = "bigram"
    implementation = f"{__name__}:BigramModule"
    rank: int

    def params(self, task: TaskShape) -> Params:
        head = self.rank * task.outputs
        return Params(
            embed=task.inputs * self.rank, head=head, head_matrix=head, body_matrices=0
        )

    def forward_flops(self, task: TaskShape) -> ForwardFlops:
        flops = 2 * task.length * self.rank * task.outputs
        return ForwardFlops(full=flops, causal=flops)


class BigramModule(nnx.Module):
    """Token ids (B, T) to logits (B, T, V)."""

    def __init__(self, spec, task, *, dtype, rngs):
        key = rngs.params()
        self.embed = nnx.Param(jax.random.normal(key, (task.inputs, spec.rank)))
        self.head = nnx.Linear(
            spec.rank, task.outputs, use_bias=False, dtype=dtype, rngs=rngs
        )

    def __call__(self, tokens):
        return self.head(self.embed[...][tokens])
