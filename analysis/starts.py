"""Starting points for a fit: spread over the exponents, solved for the coefficients."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import nnls
from scipy.stats import qmc

from analysis.laws.base import Law, Parameter


def _spread(parameter: Parameter, u: np.ndarray) -> np.ndarray:
    low, high = parameter.start
    if parameter.scale == "log":
        return np.asarray(np.exp(np.log(low) + u * (np.log(high) - np.log(low))))
    return np.asarray(low + u * (high - low))


def _design(
    law: Law, names: list[str], fixed: Mapping[str, np.ndarray], columns: Mapping
) -> tuple[np.ndarray, np.ndarray]:
    """Offset (starts, rows) and design (starts, rows, k) of the linear constants."""

    def predict(values: dict, others: dict) -> jax.Array:
        return law.predict({**others, **values}, columns)

    zeros = {k: jnp.zeros(()) for k in names}
    with jax.enable_x64(True):
        others = {k: jnp.asarray(v) for k, v in fixed.items()}
        offset = jax.vmap(lambda o: predict(zeros, o))(others)
        slopes = jax.vmap(lambda o: jax.jacfwd(predict)(zeros, o))(others)
        design = np.stack([np.asarray(slopes[k]) for k in names], axis=-1)
        return np.asarray(offset), design


def make_starts(
    law: Law,
    columns: Mapping[str, np.ndarray],
    y: np.ndarray,
    weights: np.ndarray,
    *,
    count: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Draw starting constants: name -> (count,), natural units.

    Constants that the loss is not linear in follow a scrambled Sobol sequence (Owen
    1998) over their start ranges; the others are the non-negative least-squares
    solution, in relative loss, given those (variable projection, Golub & Pereyra 1973).
    """
    drawn = [p for p in law.parameters if not p.solved_linearly]
    solved = [p for p in law.parameters if p.solved_linearly]
    sampler = qmc.Sobol(max(1, len(drawn)), seed=seed)
    u = sampler.random_base2(int(np.ceil(np.log2(max(2, count)))))[:count]
    starts = {p.name: _spread(p, u[:, i]) for i, p in enumerate(drawn)}
    if not solved:
        return starts
    names = [p.name for p in solved]
    offset, design = _design(law, names, starts or {"": np.zeros(count)}, columns)
    root = np.sqrt(weights) / y
    values = np.empty((count, len(names)))
    for i in range(count):
        matrix = design[i] * root[:, None]
        scale = np.linalg.norm(matrix, axis=0)
        scale = np.where(np.isfinite(scale) & (scale > 0), scale, 1.0)
        target = root * (y - offset[i])
        try:
            solution, _ = nnls(np.nan_to_num(matrix / scale), target)
        except RuntimeError:  # nnls gave up: start from equal shares instead
            solution = np.full(len(names), np.linalg.norm(target) / len(names))
        # A coefficient of exactly zero has no logarithm: give it 1 % of the loss.
        solution = np.maximum(solution, 0.01 * np.linalg.norm(target))
        values[i] = solution / scale
    return starts | {k: values[:, j] for j, k in enumerate(names)}
