"""Sweeps: lists of runs made by plain functions.

Every combinator takes and returns a list of `Point`s (a run and its grid coordinates),
so they nest in any order:

    with_seeds(product(base, {"model": ladder(...), "tokens": [1e6, 2e6]}), [0, 1])

The axes of a grid are paths, as `harness.sweeps.assign` reads them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args

from harness.errors import SpecError
from harness.specs.base import number
from harness.specs.count import train_flops_per_step
from harness.specs.run import ModelSpec, RunSpec
from harness.specs.task import TaskShape
from harness.sweeps.assign import assign, run_with_compute
from harness.sweeps.promises import Promise

T = TypeVar("T")

Scalar = int | float | str | bool | None
TUNED = "tune.lr"
"""Coordinate of the inner axis: fits keep each point's minimum over it."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A run and where it lies on the grid that made it."""

    run: RunSpec
    coords: Mapping[str, Scalar] = dataclasses.field(default_factory=dict)


Base = RunSpec | Iterable[Point]


KeepWeights = Literal["none", "final", "each length", "trunk"]
"""The runs whose weights are kept: none, the longest of each trunk, all; or the state
of training at the end of each trunk, from which a longer run goes on."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sweep:
    """The sweep that an experiment file defines as `SWEEP`."""

    points: Sequence[Point]
    keep_weights: KeepWeights = "none"
    promises: Sequence[Promise] = ()
    """Bounds on what the runs will say; `harness check` measures them."""

    def __post_init__(self) -> None:
        if self.keep_weights not in get_args(KeepWeights):
            known = ", ".join(map(repr, get_args(KeepWeights)))
            raise SpecError(
                f"keep_weights is {self.keep_weights!r}; use one of {known}"
            )
        points = _points(self.points)
        if not points:
            raise SpecError("the sweep has no runs")
        for point in points:
            point.run.check_budget()
            if _set_again(point):
                raise SpecError(
                    f"a rate of tune is {point.coords[TUNED]:g}, its run has "
                    f"{point.run.optimizer.lr:g}: a recipe set it again; put tune last"
                )
        promises = _listed(self.promises, "promises", "[Promise(…)]")
        if not all(isinstance(promise, Promise) for promise in promises):
            raise SpecError("promises is not a list of Promise(…)")
        object.__setattr__(self, "points", tuple(points))
        object.__setattr__(self, "promises", tuple(promises))


def product(base: Base, axes: Mapping[str, Iterable[object]]) -> list[Point]:
    """Every combination of the axes' values; the last axis varies fastest."""
    columns = [
        _listed(values, f"axis {axis!r}", "[a, b]") for axis, values in axes.items()
    ]
    _no_empty(axes, columns)
    rows = list(itertools.product(*[_labelled(column) for column in columns]))
    return [_place(p, list(axes), row) for p in _points(base) for row in rows]


def zip_(base: Base, axes: Mapping[str, Iterable[object]]) -> list[Point]:
    """The axes side by side: first values together, second values together, …"""
    columns = [
        _listed(values, f"axis {axis!r}", "[a, b]") for axis, values in axes.items()
    ]
    _no_empty(axes, columns)
    if len({len(column) for column in columns}) > 1:
        sizes = ", ".join(f"{a}: {len(c)}" for a, c in zip(axes, columns, strict=True))
        raise SpecError(f"zip_ needs axes of one length, not {sizes}")
    rows = list(zip(*[_labelled(column) for column in columns], strict=True))
    return [_place(p, list(axes), row) for p in _points(base) for row in rows]


def chain(*grids: Iterable[Point]) -> list[Point]:
    """All the points of all the grids, in order."""
    return [point for grid in grids for point in _points(grid)]


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
    targets = sorted(_listed(sizes, "ladder: sizes", "[1e4, 1e5]"))
    chosen: list[ModelSpec] = []
    previous: ModelSpec | None = None
    models = family.candidates(**options)
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
    """A run for each compute budget (FLOPs) and model, with the steps that spend it.

    Steps are exact training FLOPs (full attention) rounded to the nearest whole step;
    the nominal budget is the coordinate `compute`, what was really spent a column of
    the runs table. Pairs whose D / n_matmul lies outside `tokens_per_parameter` are
    left out of the grid.
    """
    models = _listed(models, "isoflop: models", "ladder(Transformer, [1e4, 1e5], …)")
    budgets = _listed(budgets, "isoflop: budgets", "[1e12, 2e12]")
    low, high = tokens_per_parameter
    out: list[Point] = []
    for point in _points(base):
        for budget, (size, model) in itertools.product(budgets, enumerate(models)):
            run = dataclasses.replace(point.run, model=model)
            tokens = budget / train_flops_per_step(run) * run.tokens_per_step
            if low <= tokens / model.params(run.data.shape).matmul <= high:
                run = run_with_compute(run, budget)
                coords = {**point.coords, "compute": float(budget), "size": size}
                out.append(Point(run=run, coords=coords))
    if not out:
        raise SpecError(
            f"no model and budget give between {low} and {high} tokens per parameter"
        )
    return out


def tune(points: Base, *, lr: Iterable[float]) -> list[Point]:
    """Each point once per learning rate: an inner axis, the coordinate `tune.lr`.

    Every run is stored; fits keep the minimum over the rates of each point (see
    `analysis.tuning.lr_minima`). A minimum needs a rate on either side of it, so give
    three or more, an octave or less apart: `lr=octaves(1e-3, 1.6e-2)`.
    """
    rates = _listed(lr, "tune: lr", "octaves(1e-3, 1.6e-2)")
    rates = [number(rate, float, "tune: lr") for rate in rates]
    if bad := [rate for rate in rates if rate <= 0]:
        raise SpecError(f"tune: lr {bad[0]:g} is not positive; rates lie on a log axis")
    if len(rates) < 2 or len(set(rates)) < len(rates):
        shown = ", ".join(f"{rate:g}" for rate in rates)
        raise SpecError(
            f"tune needs two or more different rates (three for a minimum), not {shown}"
        )
    out = []
    for p in product(points, {"optimizer.lr": rates}):
        coords = {k: v for k, v in p.coords.items() if k != "optimizer.lr"}
        out.append(Point(run=p.run, coords={**coords, TUNED: p.run.optimizer.lr}))
    return out


def octaves(low: float, high: float, *, per_octave: float = 1) -> list[float]:
    """Values from `low` up to `high`, `per_octave` of them to a factor of two."""
    low, high = number(low, float, "low"), number(high, float, "high")
    if not 0 < low <= high or not per_octave > 0:
        raise SpecError(
            f"octaves from {low:g} to {high:g}, {per_octave:g} each: give a positive "
            "low, a high that is not below it, and a positive per_octave"
        )
    # A high that is meant to be met is met, whatever the last bit says.
    count = math.floor(math.log2(high / low) * per_octave + 1e-9)
    return [low * 2 ** (k / per_octave) for k in range(count + 1)]


def with_seeds(
    points: Base,
    seeds: Iterable[int],
    *,
    fields: Sequence[str] = ("seed_init", "seed_order"),
) -> list[Point]:
    """Each point once per seed, set on all of `fields` together."""
    seeds = _listed(seeds, "with_seeds: seeds", "[0, 1]")
    seeds = [int(number(seed, int, "seed")) for seed in seeds]
    tied = dict.fromkeys(fields, seeds)
    return [
        Point(run=p.run, coords={**origin.coords, "seed": seed})
        for origin in _points(points)
        for seed, p in zip(seeds, zip_(origin.run, tied), strict=True)
    ]


def with_recipe(points: Base, recipe: Callable[[RunSpec], RunSpec]) -> list[Point]:
    """Each run with the hyperparameters that `recipe` derives from its scale."""
    return [Point(run=recipe(p.run), coords=p.coords) for p in _points(points)]


def _points(base: Base) -> list[Point]:
    if isinstance(base, RunSpec):
        return [Point(run=base)]
    points = _listed(base, "what stands for points", "product(base, …)")
    if not all(isinstance(p, Point) for p in points):
        raise SpecError(
            "a sweep is made of the list of points that a combinator returns"
        )
    return points


def _listed(values: Iterable[T], name: str, example: str) -> list[T]:
    """The values as a list. Raises `SpecError` for one that stands alone."""
    # A text would be taken letter by letter. Not all that has __iter__ can be iterated.
    iterator = None
    with contextlib.suppress(TypeError):
        iterator = None if isinstance(values, str) else iter(values)
    if iterator is None:
        shown = repr(values)[:40]
        raise SpecError(f"{name}: {shown} is not a list; give a list such as {example}")
    return list(iterator)


def _labelled(values: Sequence[object]) -> list[tuple[object, Scalar]]:
    """Each value with its coordinate: itself if scalar, else its place on the axis."""
    plain = [value.item() if hasattr(value, "item") else value for value in values]
    return [
        (value, value if isinstance(value, Scalar) else index)
        for index, value in enumerate(plain)
    ]


def _place(
    point: Point, paths: list[str], row: Sequence[tuple[object, Scalar]]
) -> Point:
    values = {path: value for path, (value, _) in zip(paths, row, strict=True)}
    labels = {path: label for path, (_, label) in zip(paths, row, strict=True)}
    run = assign(point.run, values)
    coords = {**point.coords, **labels}
    if "steps" in values or "tokens" in values:
        # The newest budget counts; older ones no longer say where the point lies.
        budgets = {"steps", "tokens", "compute"} - values.keys()
        coords = {k: v for k, v in coords.items() if k not in budgets}
    elif "tokens" in coords:
        # Another batch or context: the same budget takes another number of steps.
        run = run.with_tokens(coords["tokens"])  # type: ignore[arg-type]
    elif "compute" in coords:
        run = run_with_compute(run, coords["compute"])  # type: ignore[arg-type]
    placed = Point(run=run, coords=coords)
    if _set_again(placed):
        del coords[TUNED]
    return placed


def _set_again(point: Point) -> bool:
    """Whether something has changed the rate that `tune` gave."""
    rate = point.coords.get(TUNED)
    return rate is not None and rate != point.run.optimizer.lr


def _no_empty(axes: Iterable[str], columns: Sequence[Sequence[object]]) -> None:
    if not axes:
        raise SpecError("a grid needs at least one axis")
    for axis, column in zip(axes, columns, strict=True):
        if not column:
            raise SpecError(f"axis {axis!r} has no values")
