"""Parameters and FLOPs in closed form, every convention a named field.

A multiply-add is 2 FLOPs. Lookups, norms, activations, softmax and the optimiser count
0, and nothing is recomputed. Of a mixture of experts, what one token uses is counted in
`n_matmul` and in FLOPs, everything in `n_total`. Training costs three forward passes,
less the gradient with respect to real-valued raw input, which nobody computes.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from harness.specs.run import ModelSpec, RunSpec, TaskShape


@dataclass(frozen=True, kw_only=True, slots=True)
class Params:
    """Parameters by role. A tied head is a use of the embedding, not a parameter."""

    embed: int
    """Lookup tables: token embedding and learned positions."""
    head: int
    """Unembedding or classifier (weights and biases); 0 if tied."""
    body_matrices: int
    """Weights of the body that take part in matrix products."""
    body_vectors: int = 0
    """Norm gains and biases of the body."""
    head_matrix: int
    """Weights that the head multiplies with, tied or not."""
    inactive: int = 0
    """Body weights of the experts that a token does not pass through."""

    @property
    def body(self) -> int:
        return self.body_matrices + self.body_vectors

    @property
    def total(self) -> int:
        return self.embed + self.head + self.body

    @property
    def matmul_total(self) -> int:
        """Weights used in matrix products by some token."""
        return self.body_matrices + self.head_matrix

    @property
    def matmul(self) -> int:
        """Weights used in matrix products by one token."""
        return self.matmul_total - self.inactive

    @property
    def active(self) -> int:
        """All parameters but the experts that a token does not pass through."""
        return self.total - self.inactive


@dataclass(frozen=True, kw_only=True, slots=True)
class ForwardFlops:
    """FLOPs of one forward pass over one example."""

    full: int
    """Attention counted over all pairs: what a dense kernel executes."""
    causal: int
    """Attention counted over the half that is not masked."""
    raw_input: int = 0
    """Share of layers fed by real-valued raw input (no gradient flows to it)."""
    chinchilla: int | None = None
    """Hoffmann et al. 2022, Appendix F; None where that table does not apply."""

    def train(self) -> int:
        """Forward and backward, full attention."""
        return 3 * self.full - self.raw_input

    def train_causal(self) -> int:
        """Forward and backward, causal attention."""
        return 3 * self.causal - self.raw_input


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """All conventions for one run; the field names are columns of the runs table."""

    n_embed: int
    n_head: int
    n_body: int
    n_total: int
    n_matmul: int
    n_nonembed: int
    n_active: int
    n_matmul_total: int
    flops_train: int
    flops_train_causal: int
    flops_6nd_total: int
    flops_6nd_nonembed: int
    flops_6nd_matmul: int
    flops_chinchilla: int | None


def train_flops_per_step(run: RunSpec) -> int:
    """FLOPs of one optimiser step of `run`, full attention."""
    return run.batch * _model_counts(run.model, run.data.shape)[1].train()


def count(run: RunSpec) -> Counts:
    """Parameters and total training FLOPs of `run` under every convention."""
    n, forward = _model_counts(run.model, run.data.shape)
    examples = run.steps * run.batch
    six_d = 6 * run.tokens
    chinchilla = forward.chinchilla
    return Counts(
        n_embed=n.embed,
        n_head=n.head,
        n_body=n.body,
        n_total=n.total,
        n_matmul=n.matmul,
        n_nonembed=n.body,
        n_active=n.active,
        n_matmul_total=n.matmul_total,
        flops_train=examples * forward.train(),
        flops_train_causal=examples * forward.train_causal(),
        flops_6nd_total=six_d * n.total,
        flops_6nd_nonembed=six_d * n.body,
        flops_6nd_matmul=six_d * n.matmul,
        flops_chinchilla=None if chinchilla is None else 3 * examples * chinchilla,
    )


@functools.lru_cache(maxsize=1024)
def _model_counts(model: ModelSpec, task: TaskShape) -> tuple[Params, ForwardFlops]:
    # A sweep asks for the same few models thousands of times.
    return model.params(task), model.forward_flops(task)
