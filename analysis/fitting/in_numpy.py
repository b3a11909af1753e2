"""Lanes solved by numpy, with the formula of a law: nothing is compiled.

Chunks of lanes and blocks of rows stay in the cache of their core.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from analysis.fitting.newton import (
    Evaluate,
    Point,
    Regression,
    Slopes,
    advance,
    evaluate,
    floor_of,
    is_running,
    to_natural,
)
from analysis.fitting.states import NumpyState, data_of, joined, put_back, taken
from analysis.laws.arrays import FloatArray
from analysis.laws.base import Law

Formula = Callable[..., list[FloatArray]]
"""As `analysis.laws.interpret.slopes_of` gives it."""
CHUNK = 32_768
"""Lanes times rows that numpy works on at a time: they stay in the cache."""


@dataclass(frozen=True, slots=True)
class Model:
    """A law that is a formula, and what is minimised of it.

    Attributes:
        law: the functional form.
        log: residuals of ln loss, else of loss in nats.
        formula: of the losses and their derivatives.
    """

    law: Law
    log: bool
    formula: Formula

    def slopes(self, columns: Mapping[str, FloatArray], y: FloatArray) -> Slopes:
        """Residuals and their Jacobian at any θ.

        Args:
            columns: column of the law -> (rows,), or (lanes, rows).
            y: (rows,) observed loss, or (lanes, rows).
        """
        given = [columns[name] for name in self.law.columns]
        observed = np.log(y) if self.log else y

        def slopes(theta: FloatArray) -> tuple[FloatArray, FloatArray]:
            natural = to_natural(np, self.law, theta)
            constants = [value[:, None] for value in natural.values()]
            predicted, *derivatives = self.formula(*constants, *given)
            jacobian = np.empty((len(theta), len(constants), y.shape[-1]))
            for i, parameter in enumerate(self.law.parameters):
                scaled = parameter.scale == "log"
                jacobian[:, i] = derivatives[i] * (constants[i] if scaled else 1.0)
            predicted = np.broadcast_to(predicted, (len(theta), y.shape[-1]))
            if self.log:
                jacobian /= predicted[:, None]
                return np.log(predicted) - observed, jacobian
            return predicted - observed, jacobian

        return slopes


def solve(
    model: Model, regression: Regression[np.ndarray], state: NumpyState, most: int
) -> NumpyState:
    """The end of every lane, after `most` steps at most."""
    lanes, rows = len(state.theta), regression.y.shape[-1]
    size = max(1, CHUNK // rows)
    chunks = [np.arange(i, min(i + size, lanes)) for i in range(0, lanes, size)]

    def run(index: np.ndarray) -> NumpyState:
        with np.errstate(all="ignore"):
            own = data_of(regression, index)
            return _finish(model, own, taken(state, index), most + 1)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return joined(list(pool.map(run, chunks)))


def _finish(
    model: Model, regression: Regression[np.ndarray], state: NumpyState, limit: int
) -> NumpyState:
    """The state of some lanes after all their steps; those that are done leave."""
    running = np.flatnonzero(is_running(state, limit))
    while len(running):
        own = data_of(regression, running)
        at, floor = _in_row_blocks(model, own), floor_of(np, own, log=model.log)
        stepping = taken(state, running)
        # While all go on, nothing has to be copied in between.
        while True:
            stepping = advance(np, at, own, floor, stepping)
            if not is_running(stepping, limit).all():
                break
        state = put_back(state, running, stepping)
        running = running[is_running(stepping, limit)]
    return state


def _in_row_blocks(model: Model, regression: Regression[np.ndarray]) -> Evaluate:
    """The objectives and derivatives as sums over blocks of rows."""
    blocks = []
    for first in range(0, regression.y.shape[-1], CHUNK):
        some = slice(first, first + CHUNK)
        own = regression._replace(
            columns={k: v[..., some] for k, v in regression.columns.items()},
            y=regression.y[..., some],
            weights=regression.weights[..., some],
        )
        blocks.append((model.slopes(own.columns, own.y), own))

    def at(theta: FloatArray) -> Point[np.ndarray]:
        points = [evaluate(np, slopes, theta, own) for slopes, own in blocks]
        return Point(*(sum(parts) for parts in zip(*points, strict=True)))

    return at
