"""Starting points for a fit: spread over the exponents, solved for the coefficients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import nnls

from analysis.fitting.padding import bucket, pad_rows
from analysis.laws.arrays import Array, FloatArray, Values
from analysis.laws.base import Law, Parameter, Starts
from analysis.laws.interpret import slopes_of


def _spread(
    parameter: Parameter, u: FloatArray, columns: Mapping[str, FloatArray]
) -> FloatArray:
    """The values of a constant at shares u of its start range."""
    low, high = parameter.start
    if parameter.unit:
        column = columns[parameter.unit.removeprefix("1/")]
        unit = float(np.exp(np.log(column).mean()))
        unit = 1 / unit if parameter.unit.startswith("1/") else unit
        low, high = low * unit, high * unit
    if parameter.scale == "log":
        return np.asarray(np.exp(np.log(low) + u * (np.log(high) - np.log(low))))
    return np.asarray(low + u * (high - low))


@lru_cache(maxsize=256)
def _compiled(law: Law, names: tuple[str, ...]) -> Callable[..., tuple[Array, Array]]:
    def value_and_slopes(others: Values, columns: Values) -> tuple[Array, Array]:
        def predict(values: Values) -> Array:
            return law.predict({**others, **values}, columns)

        ones = {k: jnp.ones(()) for k in names}
        each = jax.jacfwd(predict)(ones)
        slopes = jnp.stack([each[k] for k in names], axis=-1)
        return predict(ones) - slopes.sum(-1), slopes

    return jax.jit(jax.vmap(value_and_slopes, in_axes=(0, None)))


def _design(
    law: Law,
    names: tuple[str, ...],
    drawn: Mapping[str, FloatArray],
    columns: Mapping[str, FloatArray],
) -> tuple[FloatArray, FloatArray]:
    """The offset (starts, rows) and design (starts, rows, k) of linear constants.

    Taken where these are 1: a law that is not quite linear in them may have no value
    where they are 0.
    """
    formula = slopes_of(law.predict, law.parameter_names, law.columns)
    if formula is not None:
        return _design_in_numpy(law, formula, names, drawn, columns)
    rows = len(next(iter(columns.values())))
    padded = {k: pad_rows(v, bucket(rows)) for k, v in columns.items()}
    with jax.enable_x64(True):
        offset, design = _compiled(law, names)(drawn, padded)
        return np.asarray(offset)[:, :rows], np.asarray(design)[:, :rows]


def _design_in_numpy(
    law: Law,
    formula: Callable[..., list[FloatArray]],
    names: tuple[str, ...],
    drawn: Mapping[str, FloatArray],
    columns: Mapping[str, FloatArray],
) -> tuple[FloatArray, FloatArray]:
    constants = [
        (np.ones(1) if name in names else drawn[name])[:, None]
        for name in law.parameter_names
    ]
    rows = [columns[name][None, :] for name in law.columns]
    with np.errstate(all="ignore"):
        value, *slopes = formula(*constants, *rows)
    count = len(next(iter(drawn.values())))
    shape = (count, len(next(iter(columns.values()))))
    wanted = [slopes[law.parameter_names.index(name)] for name in names]
    design = np.stack([np.broadcast_to(s, shape) for s in wanted], axis=-1)
    return value - design.sum(-1), design


def _solve_linear(matrix: FloatArray, target: FloatArray) -> FloatArray:
    """The non-negative least squares in any units; a share of 1 % is the least.

    A coefficient of exactly zero has no logarithm to start from.
    """
    if not np.isfinite(target).all():  # a loss of next to nothing
        return np.ones(matrix.shape[1])
    scale = np.linalg.norm(matrix, axis=0)
    scale = np.where(np.isfinite(scale) & (scale > 0), scale, 1.0)
    size = float(np.linalg.norm(target))
    try:
        solution, _ = nnls(np.nan_to_num(matrix / scale), target)
    except RuntimeError:  # nnls did not converge: equal shares are a start as well
        solution = np.full(len(scale), size / len(scale))
    return np.asarray(np.maximum(solution, 0.01 * size) / scale)


def _evenly(count: int, dimensions: int, seed: int) -> FloatArray:
    """Points (count, dimensions) of the unit cube that fill it evenly.

    A Kronecker sequence from a random point: steps of the powers of 1/φ, with φ the
    root of φ^(d+1) = φ + 1 (Roberts 2018, "The unreasonable effectiveness of
    quasirandom sequences"). It needs no table, as Sobol's does.
    """
    root = 2.0
    for _ in range(64):
        root = (1 + root) ** (1 / (dimensions + 1))
    steps = root ** -np.arange(1.0, dimensions + 1)
    first = np.random.default_rng(seed).random(dimensions)
    return (first + np.arange(count)[:, None] * steps) % 1.0


@np.errstate(all="ignore")  # a start that is not finite is no start
def make_starts(
    law: Law,
    columns: Mapping[str, FloatArray],
    y: FloatArray,
    weights: FloatArray,
    *,
    count: int,
    seed: int,
) -> Starts:
    """Starting constants drawn for a search: name -> (count,), natural units.

    Constants that the loss is not linear in are spread evenly over their start ranges;
    the others are the non-negative least-squares solution, in relative loss, given
    those (variable projection, Golub & Pereyra 1973).

    Args:
        law: the functional form.
        columns: column of the law -> (rows,).
        y, weights: (rows,); rows of weight zero are not looked at.
        count: number of starts.
        seed: of the sequence.
    """
    drawn = [p for p in law.parameters if not p.solved_linearly]
    solved = [p for p in law.parameters if p.solved_linearly]
    u = _evenly(count, max(1, len(drawn)), seed)
    starts = {p.name: _spread(p, u[:, i], columns) for i, p in enumerate(drawn)}
    if law.refine_starts is not None:
        used = weights > 0
        rows = {k: v[used] for k, v in columns.items()}
        starts = law.refine_starts(starts, rows, y[used])
    if not solved:
        return starts
    names = tuple(p.name for p in solved)
    offset, design = _design(law, names, starts or {"": np.zeros(count)}, columns)
    root = np.sqrt(weights) / y
    values = np.stack(
        [
            _solve_linear(design[i] * root[:, None], root * (y - offset[i]))
            for i in range(count)
        ]
    )
    return starts | {k: values[:, j] for j, k in enumerate(names)}
