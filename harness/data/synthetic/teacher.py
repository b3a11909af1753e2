"""Synthetic regression: a student learns a fixed random tanh network."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from harness.data.dataset import Arrays, Dataset, row_dataset, rows
from harness.data.synthetic.teacher_spec import TeacherStudent

Array = NDArray[np.float32]


def load(spec: TeacherStudent, seed_data: int) -> Dataset:
    """Draws the teacher, then training and held-out examples from separate streams."""
    weights = _teacher(spec, _stream(seed_data, 0))
    return row_dataset(
        train=_examples(spec, weights, seed_data, 1, spec.unique_examples),
        held_out=_examples(spec, weights, seed_data, 2, spec.eval_examples),
        examples=spec.unique_examples,
        gather=rows,
    )


def _stream(seed: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, stream]))


def _teacher(spec: TeacherStudent, rng: np.random.Generator) -> list[NDArray]:
    widths = [spec.inputs, *[spec.teacher_width] * spec.teacher_depth, spec.outputs]
    return [rng.standard_normal((i, o)) / np.sqrt(i) for i, o in pairwise(widths)]


def _answer(weights: list[NDArray], x: NDArray) -> NDArray:
    *hidden, last = weights
    for matrix in hidden:
        x = np.tanh(x @ matrix)
    return x @ last


def _examples(
    spec: TeacherStudent, weights: list[NDArray], seed: int, stream: int, n: int
) -> Arrays:
    # The scale comes from a stream of its own: all subsets share one target scale.
    probe = _answer(weights, _stream(seed, 3).standard_normal((4096, spec.inputs)))
    x = _stream(seed, stream).standard_normal((n, spec.inputs))
    y = _answer(weights, x) / probe.std(axis=0)
    y += spec.noise * _stream(seed, stream + 8).standard_normal(y.shape)
    return {"x": x.astype(np.float32), "y": y.astype(np.float32)}
