"""Parameters and FLOPs in closed form, every convention a named field.

A multiply-add is 2 FLOPs. Lookups, norms, activations, softmax and elementwise updates
count 0, and nothing is recomputed. Matrix products of an optimiser are counted in
`flops_optimizer` alone. Of a mixture of experts, what one token uses is counted in
`n_matmul` and in FLOPs, everything in `n_total`. Training costs three forward passes,
less the gradient with respect to real-valued raw input, which nobody computes.
"""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass

from harness.specs.run import ModelSpec, RunSpec
from harness.specs.task import ForwardFlops, Params, TaskShape

NUMBER_BYTES = 4
"""Bytes of a parameter; training keeps them in float32."""
MEASURE = "harness.optimizers.measure"


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
    flops_optimizer: int


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
        flops_optimizer=run.steps * _optimizer_cost(run)[1],
    )


def training_bytes(run: RunSpec) -> int:
    """Bytes of weights, gradients and the optimiser's state."""
    n = _model_counts(run.model, run.data.shape)[0]
    return 2 * NUMBER_BYTES * n.total + _optimizer_cost(run)[0]


def _optimizer_cost(run: RunSpec) -> tuple[int, int]:
    """Bytes of the optimiser's state, and FLOPs of an update's matrix products."""
    n = _model_counts(run.model, run.data.shape)[0]
    size, flops = run.optimizer.state_bytes(n), run.optimizer.update_flops(n)
    if size is None or flops is None:
        key = (run.model, run.data.shape, run.optimizer.program_key())
        if key not in _measured:
            # It needs jax, which counting else does without.
            _measured[key] = importlib.import_module(MEASURE).measure(run)
        measured = _measured[key]
        size = measured[0] if size is None else size
        flops = measured[1] if flops is None else flops
    return size, flops


_measured: dict[tuple[object, ...], tuple[int, int]] = {}
"""What was measured in this process, by all that it depends on."""


@functools.lru_cache(maxsize=1024)
def _model_counts(model: ModelSpec, task: TaskShape) -> tuple[Params, ForwardFlops]:
    # A sweep asks for the same few models thousands of times.
    return model.params(task), model.forward_flops(task)
