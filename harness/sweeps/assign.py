"""Assignment to the fields of a run, by path.

A path names a spec field ("optimizer.lr", "batch", "model.width"), a whole spec
("model"), or "tokens", the budget D, which is rounded down to whole steps and always
set last.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TypeVar

from harness.errors import SpecError
from harness.specs.base import Spec, number, unknown_field
from harness.specs.count import train_flops_per_step
from harness.specs.run import RunSpec

S = TypeVar("S", bound=Spec)


def assign(run: RunSpec, values: Mapping[str, object]) -> RunSpec:
    """`run` with the fields at the given paths changed, all together.

    "tokens" sets the steps, after everything else. Raises `SpecError` for a path that
    does not exist.
    """
    fields = {path: value for path, value in values.items() if path != "tokens"}
    run = _replace(run, fields)
    if "tokens" not in values:
        return run
    return run.with_tokens(number(values["tokens"], float, "tokens"))


def run_with_compute(run: RunSpec, budget: float) -> RunSpec:
    """`run` with the whole number of steps that comes nearest to `budget` FLOPs."""
    per_step = train_flops_per_step(run)
    steps = round(number(budget, float, "compute budget") / per_step)
    if steps < 1:
        raise SpecError(
            f"compute budget {budget:.3g} FLOPs is smaller than one step of "
            f"{per_step:.3g} FLOPs; raise it or lower batch"
        )
    return dataclasses.replace(run, steps=steps)


def _replace(owner: S, values: Mapping[str, object]) -> S:
    """One `replace` per spec, so that fields are only checked in their new company."""
    whole: dict[str, object] = {}
    nested: dict[str, dict[str, object]] = {}
    for path, value in values.items():
        name, _, rest = path.partition(".")
        if name not in owner.__dataclass_fields__:
            fields = list(owner.__dataclass_fields__)
            known = [*fields, "tokens"] if isinstance(owner, RunSpec) else fields
            raise unknown_field(type(owner).__name__, name, known)
        if rest:
            nested.setdefault(name, {})[rest] = value
        else:
            whole[name] = value
    for name, inner in nested.items():
        field = whole.get(name, getattr(owner, name))
        if not isinstance(field, Spec):
            raise unknown_field(type(field).__name__, next(iter(inner)), [])
        whole[name] = _replace(field, inner)
    return dataclasses.replace(owner, **whole) if whole else owner
