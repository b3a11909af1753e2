"""The shape of a task as a model sees it, and the cost of a model on it."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TaskShape:
    """The shape of a data set's examples, as a model sees them.

    `kind` of the inputs, B examples at a time: "tokens" (B, T) ids below `inputs`;
    "vectors" (B, I) reals; "images" (B, height, width, channels) in [0, 1];
    "sequences" (B, T, I) reals. `target`: the "next_token" at each position (B, T), a
    "class" (B,), or (B, O) "real" numbers.
    """

    kind: Literal["tokens", "vectors", "images", "sequences"]
    length: int
    """T: tokens or time steps of an example; 1 for vectors and images."""
    inputs: int
    """Vocabulary, vector size, channels (images), features of a time step."""
    outputs: int
    """Classes, or real outputs."""
    target: Literal["next_token", "class", "real"] = "real"
    size: tuple[int, int] = (1, 1)
    """Height and width of an image."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
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


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
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
