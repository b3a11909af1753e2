"""Rules that the families share: tasks they read, read-outs, initialisers, muP."""

from __future__ import annotations

from typing import Literal, Protocol

from harness.errors import SpecError
from harness.specs.base import at_least
from harness.specs.task import TaskShape

Activation = Literal["relu", "gelu", "tanh", "sigmoid", "silu"]
Init = Literal["default", "lecun", "he", "glorot", "normal"]
"""The rule by which weights are drawn: normal with variance 1/in (LeCun), 2/in (He et
al. 2015), 2/(in + out) (Glorot & Bengio 2010) or `sigma`²; "default" is the family's.
Biases start at zero, and matrices that write to a residual stream keep its factor."""


class Drawn(Protocol):
    """The fields of a family with trained matrices and dropout."""

    @property
    def dropout(self) -> float: ...
    @property
    def init(self) -> Init: ...
    @property
    def sigma(self) -> float: ...


def check_options(spec: Drawn) -> None:
    """Raise `SpecError` unless `dropout`, `init`, `sigma` and `mup_base` make sense.

    `mup_base` is the width at which muP (Yang et al. 2022, arXiv:2203.03466, table 8)
    equals the standard parametrisation; 0 means standard.
    """
    if not 0 <= spec.dropout < 1:
        raise SpecError(f"dropout {spec.dropout} is not in [0, 1)")
    at_least(spec, 0, "sigma")
    if (spec.init == "normal") != (spec.sigma > 0):
        raise SpecError(
            f"init {spec.init!r} with sigma {spec.sigma}: sigma is the standard "
            "deviation of init 'normal', and of no other"
        )
    base = getattr(spec, "mup_base", 0)
    if base < 0 or (base and spec.init != "default"):
        raise SpecError(
            f"mup_base {base} with init {spec.init!r}: muP is a width of at least 1, "
            "and sets the scale of weights itself; use init='default'"
        )


def check_reads(
    family: str, task: TaskShape, kinds: tuple[str, ...], instead: str
) -> None:
    """Raise `SpecError` unless `task` shows inputs of one of `kinds`."""
    if task.kind not in kinds:
        raise SpecError(
            f"{family} reads {' or '.join(kinds)}, not {task.kind}; try {instead}"
        )
    if task.target == "next_token" and task.kind != "tokens":
        raise SpecError(f"only tokens have a next token, not {task.kind}")


def read_outs(task: TaskShape) -> int:
    """Positions of an example at which the head predicts."""
    return task.length if task.target == "next_token" else 1


def convolved(size: int, kernel: int, stride: int, padding: str) -> int:
    """Output length of a convolution or pooling along one side."""
    return -(-size // stride) if padding == "same" else (size - kernel) // stride + 1
