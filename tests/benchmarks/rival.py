"""A plain PyTorch loop for the same decoder: what the harness is measured against.

The same architecture, optimiser, clipping, learning rates and batches in float32, as a
careful user writes them: fused attention and optimiser, the corpus as one tensor,
nothing that waits needlessly. It imports neither jax nor the harness.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

VOCABULARY = 256
EVAL_BATCH = 64
"""Held-out sequences evaluated at once."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A decoder with GELU, rotary positions and a head of its own."""

    width: int
    depth: int
    heads: int


class Block(nn.Module):
    """Pre-norm attention and feed-forward, no biases."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        D = shape.width
        self.heads = shape.heads
        self.norm1 = nn.RMSNorm(D, eps=1e-6)
        self.qkv = nn.Linear(D, 3 * D, bias=False)
        self.out = nn.Linear(D, D, bias=False)
        self.norm2 = nn.RMSNorm(D, eps=1e-6)
        self.up = nn.Linear(D, 4 * D, bias=False)
        self.down = nn.Linear(4 * D, D, bias=False)

    def forward(self, x_BTD: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
        B, T, D = x_BTD.shape
        qkv = self.qkv(self.norm1(x_BTD)).view(B, T, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(
            rotate(q, turn), rotate(k, turn), v, is_causal=True
        )
        x_BTD = x_BTD + self.out(mixed.transpose(1, 2).reshape(B, T, D))
        h = functional.gelu(self.up(self.norm2(x_BTD)), approximate="tanh")
        return x_BTD + self.down(h)


def rotate(x_BHTK: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Rotary positions, halves as pairs; `turn` holds cosines and sines (2, T, K)."""
    a, b = x_BHTK.chunk(2, dim=-1)
    return x_BHTK * turn[0] + torch.cat([-b, a], dim=-1) * turn[1]


def turns(T: int, K: int) -> torch.Tensor:
    """Cosines and sines of the angles, (2, T, K)."""
    frequency = 10_000.0 ** (-torch.arange(K // 2) / (K // 2))
    angle = torch.arange(T)[:, None] * frequency
    return torch.stack([angle.cos().repeat(1, 2), angle.sin().repeat(1, 2)])


class Decoder(nn.Module):
    """Token ids (B, T) to logits (B, T, V)."""

    turn: torch.Tensor

    def __init__(self, shape: Shape, T: int) -> None:
        super().__init__()
        D = shape.width
        self.embed = nn.Embedding(VOCABULARY, D)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.depth))
        self.norm = nn.RMSNorm(D, eps=1e-6)
        self.head = nn.Linear(D, VOCABULARY, bias=False)
        self.register_buffer("turn", turns(T, D // shape.heads))
        self._draw(shape)

    @torch.no_grad()
    def _draw(self, shape: Shape) -> None:
        """LeCun's weights, GPT-2's smaller ones where the residual is written."""
        for name, p in self.named_parameters():
            if p.ndim == 2:
                writes = name.endswith(("out.weight", "down.weight"))
                gain = 1 / math.sqrt(2 * shape.depth) if writes else 1.0
                p.normal_(std=gain / math.sqrt(p.shape[1]))

    def forward(self, tokens_BT: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens_BT)
        for block in self.blocks:
            x = block(x, self.turn)
        return self.head(self.norm(x))

    def loss(self, tokens_BT: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
        """Nats per token of windows of T + 1 tokens; with "none" of each token."""
        logits = self(tokens_BT[:, :-1])
        targets = tokens_BT[:, 1:].reshape(-1)
        return functional.cross_entropy(
            logits.view(-1, VOCABULARY), targets, reduction=reduction
        )

    @torch.no_grad()
    def adopt(self, params: Mapping[str, Any]) -> None:
        """Takes over the harness's parameters, a nested dict of arrays."""

        def copy(to: torch.Tensor, array: Any) -> None:
            to.copy_(torch.from_numpy(np.array(array)))

        copy(self.embed.weight, params["embed"])
        copy(self.norm.weight, params["norm"]["gain"])
        copy(self.head.weight, params["head"]["kernel"].T)
        for i, block in enumerate(self.blocks):
            own = params["blocks"][i]
            copy(block.norm1.weight, own["norm1"]["gain"])
            copy(block.norm2.weight, own["norm2"]["gain"])
            copy(block.qkv.weight, own["attention"]["qkv"]["kernel"].T)
            copy(block.out.weight, own["attention"]["out"]["kernel"].T)
            copy(block.up.weight, own["feed_forward"]["up"]["kernel"].T)
            copy(block.down.weight, own["feed_forward"]["down"]["kernel"].T)


class Trainer:
    """A decoder, its AdamW, and the corpus as a tensor."""

    def __init__(
        self, shape: Shape, T: int, corpus: torch.Tensor, *, weight_decay: float = 0.1
    ) -> None:
        self.model, self.corpus = Decoder(shape, T), corpus
        self.windows = corpus.unfold(0, T + 1, 1)
        matrices = [p for p in self.model.parameters() if p.ndim == 2]
        vectors = [p for p in self.model.parameters() if p.ndim < 2]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ],
            betas=(0.9, 0.95),
            eps=1e-8,
            fused=True,
        )
        self.params = matrices + vectors

    def step(self, offsets_B: torch.Tensor, lr: float) -> torch.Tensor:
        """One update on the windows at `offsets_B`; the loss before it."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        loss = self.model.loss(self.windows[offsets_B].long())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.params, 1.0, foreach=True)
        self.optimizer.step()
        return loss.detach()

    @torch.no_grad()
    def evaluate(self, windows_ET: torch.Tensor) -> tuple[float, float]:
        """Held-out loss of all sequences, and its standard error over them."""
        found = [
            self.model.loss(part.long(), "none").view(len(part), -1).mean(dim=1)
            for part in windows_ET.split(EVAL_BATCH)
        ]
        losses = torch.cat(found)
        return losses.mean().item(), (losses.std() / math.sqrt(len(losses))).item()
