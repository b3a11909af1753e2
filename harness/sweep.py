"""Sweeps: lists of runs made by plain functions.

Every combinator takes and returns a list of `Point`s (a run and its grid coordinates),
so they nest in any order:

    with_seeds(product(base, {"model": ladder(...), "tokens": [1e6, 2e6]}), [0, 1])

A path names a spec field ("optim.lr", "batch", "model.width"), a whole spec ("model"),
or "tokens", the budget D, which is rounded down to whole steps and always set last.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from harness.count import train_flops_per_step
from harness.errors import SpecError
from harness.spec import ModelSpec, RunSpec, Spec, TaskShape, unknown_field

Scalar = int | float | str | bool


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A run and where it lies on the grid that made it."""

    run: RunSpec
    coords: Mapping[str, Scalar] = dataclasses.field(default_factory=dict)


Base = RunSpec | Iterable[Point]


@dataclasses.dataclass(frozen=True, slots=True)
class Sweep:
    """What an experiment file defines as `SWEEP`."""

    points: Sequence[Point]

    def __post_init__(self) -> None:
        points = list(self.points)
        if not points:
            raise SpecError("the sweep has no runs")
        if not all(isinstance(p, Point) for p in points):
            raise SpecError("Sweep takes the list of points that a combinator returns")
        for point in points:
            point.run.check_schedule()
        object.__setattr__(self, "points", tuple(points))


def product(base: Base, axes: Mapping[str, Iterable[Any]]) -> list[Point]:
    """Every combination of the axes' values; the last axis varies fastest."""
    columns = [list(values) for values in axes.values()]
    _no_empty(axes, columns)
    rows = list(itertools.product(*[_labelled(column) for column in columns]))
    return [_place(p, list(axes), row) for p in _points(base) for row in rows]


def zip_(base: Base, axes: Mapping[str, Iterable[Any]]) -> list[Point]:
    """The axes side by side: first values together, second values together, …"""
    columns = [list(values) for values in axes.values()]
    _no_empty(axes, columns)
    if len({len(column) for column in columns}) > 1:
        sizes = ", ".join(f"{a}: {len(c)}" for a, c in zip(axes, columns, strict=True))
        raise SpecError(f"zip_ needs axes of one length, not {sizes}")
    rows = list(zip(*[_labelled(column) for column in columns], strict=True))
    return [_place(p, list(axes), row) for p in _points(base) for row in rows]


def chain(*parts: Iterable[Point]) -> list[Point]:
    """All the points of all the parts, in order."""
    return [point for part in parts for point in part]


def ladder(
    family: type[ModelSpec],
    sizes: Iterable[float],
    task: TaskShape,
    **options: Any,
) -> list[ModelSpec]:
    """One model per target size: the nearest in log `n_matmul` along the aspect rule.

    The rule is the family's `candidates(**options)`. Raises `SpecError` when two
    targets would get the same model.
    """
    targets = sorted(sizes)
    chosen: list[ModelSpec] = []
    previous: ModelSpec | None = None
    models = iter(family.candidates(**options))  # type: ignore[attr-defined]
    current = next(models)
    for target in targets:
        while current.params(task).matmul < target:
            previous, current = current, next(models)
        near = [m for m in (previous, current) if m is not None]
        best = min(near, key=lambda m: abs(math.log(m.params(task).matmul / target)))
        if best in chosen:
            raise SpecError(
                f"sizes near {target:,.0f} both give {best.params(task).matmul:,} "
                "parameters; space them further apart"
            )
        chosen.append(best)
    return chosen


def isoflop(
    base: Base,
    models: Iterable[ModelSpec],
    budgets: Iterable[float],
    *,
    tokens_per_parameter: tuple[float, float] = (0.0, math.inf),
) -> list[Point]:
    """For each compute budget (FLOPs) and model, the steps that spend it.

    Steps are exact training FLOPs (full attention) rounded to the nearest whole step;
    the nominal budget is the coordinate `compute`, what was really spent a column of
    the runs table. Pairs whose D / n_matmul lies outside `tokens_per_parameter` are
    left out of the grid.
    """
    models, budgets = list(models), list(budgets)
    low, high = tokens_per_parameter
    out: list[Point] = []
    for point in _points(base):
        for budget, (size, model) in itertools.product(budgets, enumerate(models)):
            run = dataclasses.replace(point.run, model=model)
            run = _spend(run, budget)
            ratio = run.tokens / model.params(run.data.shape).matmul
            if low <= ratio <= high:
                coords = {**point.coords, "compute": float(budget), "size": size}
                out.append(Point(run=run, coords=coords))
    if not out:
        raise SpecError(
            f"no model and budget give between {low} and {high} tokens per parameter"
        )
    return out


def with_seeds(
    points: Base,
    seeds: Iterable[int],
    *,
    fields: Sequence[str] = ("seed_init", "seed_order"),
) -> list[Point]:
    """Each point once per seed, set on all of `fields` together."""
    seeds = list(seeds)
    tied = dict.fromkeys(fields, seeds)
    return [
        Point(run=p.run, coords={**origin.coords, "seed": seed})
        for origin in _points(points)
        for seed, p in zip(seeds, zip_(origin.run, tied), strict=True)
    ]


def with_recipe(points: Base, recipe: Callable[[RunSpec], RunSpec]) -> list[Point]:
    """Each run with the hyperparameters that `recipe` derives from its scale."""
    return [Point(run=recipe(p.run), coords=p.coords) for p in _points(points)]


def assign(run: RunSpec, path: str, value: Any) -> RunSpec:
    """`run` with the field at `path` changed. Raises `SpecError` for an unknown one."""
    if path == "tokens":
        return run.with_tokens(value)
    return _assign(run, path.split("."), value)


def _assign(owner: Any, path: list[str], value: Any) -> Any:
    name, *rest = path
    if not isinstance(owner, Spec) or name not in owner.__dataclass_fields__:
        fields = getattr(owner, "__dataclass_fields__", {})
        known = [*fields, "tokens"] if isinstance(owner, RunSpec) else [*fields]
        raise unknown_field(type(owner).__name__, name, known)
    if rest:
        value = _assign(getattr(owner, name), rest, value)
    return dataclasses.replace(owner, **{name: value})


def _spend(run: RunSpec, budget: float) -> RunSpec:
    per_step = train_flops_per_step(run)
    steps = round(budget / per_step)
    if steps < 1:
        raise SpecError(
            f"compute budget {budget:.3g} FLOPs is smaller than one step of "
            f"{per_step:.3g} FLOPs; raise it or lower batch"
        )
    return dataclasses.replace(run, steps=steps)


def _points(base: Base) -> list[Point]:
    return [Point(run=base)] if isinstance(base, RunSpec) else list(base)


def _labelled(values: list[Any]) -> list[tuple[Any, Scalar]]:
    """Each value with its coordinate: itself if scalar, else its place on the axis."""
    return [
        (value, value if isinstance(value, Scalar) else index)
        for index, value in enumerate(values)
    ]


def _place(point: Point, paths: list[str], row: Sequence[tuple[Any, Scalar]]) -> Point:
    run = point.run
    pairs = list(zip(paths, row, strict=True))
    # A budget in tokens becomes steps, which depend on the batch: set it last.
    for path, (value, _) in sorted(pairs, key=lambda pair: pair[0] == "tokens"):
        run = assign(run, path, value)
    coords = {path: label for path, (_, label) in pairs}
    return Point(run=run, coords={**point.coords, **coords})


def _no_empty(axes: Mapping[str, Any], columns: list[list[Any]]) -> None:
    if not axes:
        raise SpecError("a grid needs at least one axis")
    for axis, column in zip(axes, columns, strict=True):
        if not column:
            raise SpecError(f"axis {axis!r} has no values")
