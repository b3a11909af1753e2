"""What the residuals of a fit say against it: rows, columns and shapes that it misses.

A robust fit passes by a run that diverged, a law is fitted to two phases as to one, and
its optimum is certified all the same. Each of these is told apart here, by tests on the
residuals at a level that good fits of real losses do not reach by chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from analysis.fitting import lanes
from analysis.fitting.problem import Problem
from analysis.fitting.search import constants_of, minimise
from analysis.laws.arrays import FloatArray
from analysis.tables.columns import group_labels, run_columns
from analysis.tables.expression import mentions
from analysis.tables.table import Table

LEAST_ROWS = 8
"""The rows from which residuals are looked at."""
LEAST_RISING, RISING = 4, 0.8
"""The rows, and the rank correlation with the scale, of a loss that rises."""
FAR, FAR_LOSS = 8.0, 0.05
"""A row stands out that is so many robust standard deviations from the others, and so
far in ln loss (in linear space as a share of the median loss)."""
NAMED = 5
"""The most rows that a sentence names."""
LARGE = 0.05
"""The rms residual in ln loss (a share of the median loss) beyond which no law of loss
describes its rows: of published fits the worst has half of it."""
LEVEL = 1e-4
"""The probability under chance below which a pattern is told."""
SHARE = 0.4
"""The share of the residuals' variance that a pattern must explain."""
TIMES_NOISE = 3.0
"""The lack of fit, in multiples of the noise of repeated rows, that is told."""
FEW_VALUES = 8
"""The different values up to which a column of numbers is one of labels."""
OUTCOME = 0.9
"""The rank correlation with the loss beyond which a column is another outcome."""
CHANCE = ("seed", "run", "id", "index", "time", "date", "host", "name")
"""Parts of names of columns that say nothing of what was trained."""


class Residuals(NamedTuple):
    """The residuals of a fit, and what they are to be judged by.

    Attributes:
        table: the rows.
        problem: the regression.
        theta: (p,) its optimum, solver coordinates.
        r: (rows,) residuals.
        jacobian: (rows, p) their derivatives by the constants, solver coordinates.
    """

    table: Table
    problem: Problem
    theta: FloatArray
    r: FloatArray
    jacobian: FloatArray

    @property
    def relative(self) -> FloatArray:
        """The residuals in ln loss, or as shares of the median loss."""
        if self.problem.objective.log:
            return self.r
        return self.r / float(np.median(np.abs(self.problem.y)))


def misfits(found: Residuals) -> dict[str, str]:
    """What the residuals say: flag -> a sentence with rows or columns and the remedy.

    The flags are keys of `analysis.fitting.record.FLAG_MEANING`.
    """
    if rising := _rising(found):
        return {"lack_of_fit": rising}
    least = max(LEAST_ROWS, len(found.problem.law.parameters) + 2)
    used = found.problem.weights > 0
    if used.sum() < least:
        return {}
    found = found if used.all() else _refitted(found, used)
    sentences = {}
    far = _far_rows(found)
    rest = found
    if far.any():
        rest = _refitted(found, ~far)
        sentences["outliers"] = _outliers(found, far, rest)
    if rest.problem.rows < least:
        return sentences
    tests: Sequence[tuple[str, Callable[[Residuals], str | None]]] = (
        ("explained", _explained),
        ("lack_of_fit", _lack_of_fit),
    )
    for flag, test in tests:
        if sentence := test(rest):
            sentences[flag] = sentence
    return sentences


def _refitted(found: Residuals, keep: np.ndarray) -> Residuals:
    """The residuals of some of the rows under a fit of these alone."""
    problem = replace(
        found.problem,
        columns={k: v[keep] for k, v in found.problem.columns.items()},
        y=found.problem.y[keep],
        weights=found.problem.weights[keep],
    )
    theta = minimise(problem, found.theta[None], near=True).theta[0]
    log = problem.objective.log
    r, jac = lanes.jacobian(problem.law, theta, problem.columns, problem.y, log)
    return Residuals(found.table.keep(keep, "stands out"), problem, theta, r, jac)


def _rising(found: Residuals) -> str | None:
    """The sentence where the only scale raises what the law can only lower."""
    columns = list(found.problem.columns.items())
    if len(columns) != 1 or found.problem.rows < LEAST_RISING:
        return None
    name, scale = columns[0]
    fitted = found.problem.y * np.exp(found.r)
    if not found.problem.objective.log:
        fitted = found.problem.y + found.r
    observed = _correlation(_ranks(scale), _ranks(found.problem.y))
    flat = np.ptp(fitted) <= 1e-6 * np.abs(fitted).max()
    if observed < RISING or not (flat or np.corrcoef(scale, fitted)[0, 1] < 0):
        return None
    law = found.problem.law
    return (
        f"misfit: {found.table.columns['loss']} rises with {name}, and {law.name} can "
        "only fall; fit its inverse, or a law that grows"
    )


def _far_rows(found: Residuals) -> np.ndarray:
    """The rows (rows,) that lie far from a law which most others are close to."""
    off = np.abs(found.relative - np.median(found.relative))
    spread = 1.4826 * float(np.median(off))
    return (off > FAR * spread) & (off > FAR_LOSS)


def _outliers(found: Residuals, far: np.ndarray, rest: Residuals) -> str:
    values = constants_of(rest.problem.law, rest.theta)
    constants = ", ".join(f"{name} {value:.3g}" for name, value in values.items())
    worst = np.flatnonzero(far)
    worst = worst[np.argsort(-np.abs(found.relative[worst]))]
    shown = []
    names = found.table.names_of(worst[:NAMED].tolist())
    for i, row in zip(worst, names, strict=False):
        times = np.exp(-found.r[i]) if found.problem.objective.log else np.nan
        law = f", {times:.3g} times the law" if np.isfinite(times) and times > 0 else ""
        shown.append(f"{row} (loss {found.problem.y[i]:.4g}{law})")
    more = f" and {len(worst) - NAMED} more" if len(worst) > NAMED else ""
    verb, it = ("stand", "them") if len(worst) > 1 else ("stands", "it")
    return (
        f"{', '.join(shown)}{more} {verb} out from the other rows: look at {it}, and "
        f"leave {it} out with --where if the training went wrong (without {it} "
        f"{constants})"
    )


def _explained(found: Residuals) -> str | None:
    """The sentence on a column of no role that tells the residuals apart."""
    ranks = _ranks(found.r)
    columns = _candidates(found)
    best: tuple[float, str] | None = None
    for name, values in columns.items():
        share, chance = _pattern(ranks, values)
        if share > SHARE and chance < LEVEL / len(columns):
            best = max(best or (0.0, ""), (share, name))
    if best is None:
        return None
    share, name = best
    return (
        f"column {name!r} explains {share:.0%} of what the law leaves (ranks of the "
        f"residuals): fit each of its values by itself with --where, or a law that "
        "reads it"
    )


def _candidates(found: Residuals) -> dict[str, pd.Series]:
    """The columns that could explain residuals: neither roles nor chance nor outcomes.

    A column that follows from one of the law's, such as a width from the parameters,
    is none: it would only repeat what the law misses of that.
    """
    frame, problem = found.table.frame, found.problem
    read = found.table.columns.values()
    of_specs = run_columns(frame)
    losses = _ranks(problem.y)
    scales = [v for v in problem.columns.values() if _levels(v) <= len(v) / 2]
    columns = {}
    for name in of_specs or tuple(map(str, frame.columns)):
        chance = any(part in name.lower() for part in CHANCE)
        if chance or any(mentions(text, name) for text in read):
            continue
        values = frame[name]
        if isinstance(values, pd.DataFrame) or not values.astype(str).nunique() > 1:
            continue
        numbers = pd.to_numeric(values, errors="coerce")
        numeric = bool(numbers.notna().all())
        if numeric and abs(_correlation(_ranks(numbers.to_numpy()), losses)) > OUTCOME:
            continue
        labels = pd.Series(values.astype(str).to_numpy())
        if any(_follows(labels, scale) for scale in scales):
            continue
        columns[name] = numbers if numeric else values.astype(str)
    return columns


def _levels(values: FloatArray) -> int:
    return len(np.unique(values))


def _follows(labels: pd.Series, scale: FloatArray) -> bool:
    """Whether rows of equal scale have equal labels."""
    return bool((labels.groupby(scale).nunique() == 1).all())


def _pattern(ranks: FloatArray, values: pd.Series) -> tuple[float, float]:
    """The share of the ranks' variance that a column explains, and its probability.

    Of labels by the test of Kruskal & Wallis (1952), labels of fewer than three rows
    left out; of numbers by Spearman's correlation.
    """
    labels = values.astype(str).to_numpy()
    if values.nunique() > FEW_VALUES and pd.api.types.is_numeric_dtype(values):
        rho = _correlation(ranks, _ranks(values.to_numpy(np.float64)))
        spare = len(ranks) - 2
        t = abs(rho) * np.sqrt(spare / max(1e-12, 1 - rho**2))
        return rho**2, 2 * float(special.stdtr(spare, -t))
    groups = pd.Series(ranks).groupby(labels)
    sizes, means = groups.size(), groups.mean()
    sizes, means = sizes[sizes >= 3], means[sizes >= 3]
    if len(sizes) < 2 or sizes.sum() < 0.8 * len(ranks):
        return 0.0, 1.0
    total = float(np.sum((ranks - ranks.mean()) ** 2))
    share = float(np.sum(sizes * (means - ranks.mean()) ** 2)) / total
    return share, float(special.chdtrc(len(sizes) - 1, (len(ranks) - 1) * share))


def _ranks(values: FloatArray) -> FloatArray:
    return np.asarray(pd.Series(values).rank(), np.float64)


def _correlation(a: FloatArray, b: FloatArray) -> float:
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / norm) if norm > 0 else 0.0


def _lack_of_fit(found: Residuals) -> str | None:
    """The sentence on what the law misses beyond noise; the clearest one counts."""
    rms = float(np.sqrt(np.mean(found.relative**2)))
    if rms > LARGE:
        return (
            f"misfit: the residuals are {rms:.1%} of the loss (rms), so the law does "
            "not describe these rows; see whether they are of one kind, or compare laws"
        )
    return _beyond_noise(found) or _bend(found)


def _beyond_noise(found: Residuals) -> str | None:
    """The sentence where rows of equal scale agree much better than the law does.

    The F-test of lack of fit against pure error (Draper & Smith 1998, sec. 2.1).
    """
    scales = pd.DataFrame(dict(found.problem.columns))
    cells = group_labels(scales, list(scales))
    groups = pd.Series(found.relative).groupby(cells)
    within = float(((found.relative - groups.transform("mean")) ** 2).sum())
    count = int(groups.ngroups)
    spare = len(cells) - count
    over = count - len(found.problem.law.parameters)
    if spare < LEAST_ROWS or over < 2 or within <= 0:
        return None
    between = float((groups.size() * groups.mean() ** 2).sum())
    f = (between / over) / (within / spare)
    if f < TIMES_NOISE**2 or special.fdtrc(over, spare, f) > LEVEL:
        return None
    noise, miss = np.sqrt(within / spare), np.sqrt(between / len(cells))
    return (
        f"misfit: the law misses the mean of rows of equal scale by {miss:.1%} of the "
        f"loss (rms), where single rows differ by {noise:.1%}; do not extrapolate it "
        "far, or compare laws"
    )


def _bend(found: Residuals) -> str | None:
    """The sentence where a curvature in the scales explains the residuals.

    The F-test of the squares and products of their logarithms beside the law's own
    derivatives (as Ramsey's of 1969).
    """
    columns = {k: v for k, v in found.problem.columns.items() if np.all(v > 0)}
    logs = [_standard(np.log(v)) for v in columns.values() if np.ptp(v) > 0]
    terms = [a * b for i, a in enumerate(logs) for b in logs[i:]]
    if not terms:
        return None
    held = np.linalg.norm(found.jacobian, axis=0)
    own = found.jacobian[:, held > 0] / held[held > 0]
    more = np.column_stack([own, *terms])
    before = _left(own, found.relative)
    after = _left(more, found.relative)
    q = np.linalg.matrix_rank(more) - np.linalg.matrix_rank(own)
    spare = found.problem.rows - np.linalg.matrix_rank(more)
    rms = np.sqrt(before / found.problem.rows)
    if q < 1 or spare < 3 or rms < 1e-3 or after <= 0:
        return None
    share = 1 - after / before
    f = ((before - after) / q) / (after / spare)
    if share < SHARE or special.fdtrc(q, spare, f) > LEVEL:
        return None
    names = " and ".join(columns)
    return (
        f"misfit: a curvature in {names} explains {share:.0%} of what the law leaves "
        f"({rms:.1%} of the loss, rms); it will miss runs beyond these rows: compare "
        "laws before extrapolating"
    )


def _standard(values: FloatArray) -> FloatArray:
    return np.asarray((values - values.mean()) / values.std())


def _left(design: FloatArray, r: FloatArray) -> float:
    """The sum of squares that a linear regression leaves."""
    solution, *_ = np.linalg.lstsq(design, r, rcond=None)
    return float(np.sum((r - design @ solution) ** 2))
