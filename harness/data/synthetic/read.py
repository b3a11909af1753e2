"""Draws of the synthetic controls; their theory stands in `spec` beside it."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from harness.data.dataset import Arrays, Dataset, Pair, row_dataset, rows
from harness.data.files import Array
from harness.data.synthetic.spec import (
    Drawn,
    ManifoldTeacher,
    PowerLawFeatures,
    SparseParity,
    TeacherStudent,
    TwoMoons,
    ZipfMarkov,
)

Reals = NDArray[np.float64]
Function = Callable[[Reals], Reals]

FIXED, TRAIN, HELD_OUT, PROBE = 0, 1, 2, 3
"""Numbers of the random streams; what is fixed is drawn from a stream of its own."""
NOISE = 8
"""The noise of a stream's targets has the stream that lies so much higher."""
PROBES = 4096
"""Points at which a random function is measured, to give it unit variance."""


def load(spec: Drawn | ZipfMarkov, seed_data: int) -> Dataset:
    """Training and held-out examples from separate streams of `seed_data`."""
    if isinstance(spec, ZipfMarkov):
        return _markov(spec, seed_data)
    return row_dataset(
        train=draw(spec, seed_data, TRAIN, spec.unique_examples),
        held_out=draw(spec, seed_data, HELD_OUT, spec.eval_examples),
        examples=spec.unique_examples,
        gather=_floats if isinstance(spec, SparseParity) else rows,
    )


def _floats(arrays: Arrays, offsets: Array) -> Pair:
    # Stored as bytes: ±1 and 0 need no more.
    return arrays["x"][offsets].astype("float32"), arrays["y"][offsets]


def stream(seed: int, number: int) -> np.random.Generator:
    """An independent random stream; a longer draw begins with the shorter one."""
    return np.random.Generator(np.random.Philox(key=[seed, number]))


@functools.singledispatch
def draw(spec: Drawn, seed: int, number: int, n: int) -> Arrays:
    """`n` examples, x and y, from the random stream `number` of a seed."""
    raise NotImplementedError(type(spec).__name__)


@draw.register
def _teacher_student(spec: TeacherStudent, seed: int, number: int, n: int) -> Arrays:
    widths = [spec.inputs, *[spec.teacher_width] * spec.teacher_depth, spec.outputs]
    rng = stream(seed, FIXED)
    weights = [rng.standard_normal((i, o)) / np.sqrt(i) for i, o in pairwise(widths)]
    # The scale comes from a stream of its own: all subsets share one target scale.
    probe = _answer(weights, stream(seed, PROBE).standard_normal((PROBES, spec.inputs)))
    x = stream(seed, number).standard_normal((n, spec.inputs))
    y = _answer(weights, x) / probe.std(axis=0)
    y += spec.noise * stream(seed, number + NOISE).standard_normal(y.shape)
    return {"x": x.astype(np.float32), "y": y.astype(np.float32)}


def _answer(weights: list[Reals], x: Reals) -> Reals:
    """The outputs of the tanh network with these weights, one matrix a layer."""
    *hidden, last = weights
    for matrix in hidden:
        x = np.tanh(x @ matrix)
    return np.asarray(x @ last)


def spectrum(spec: PowerLawFeatures) -> Reals:
    """Variances of the features; their sum, the target's variance, is 1."""
    variances = np.arange(1, spec.inputs + 1.0) ** -(1 + spec.spectrum)
    return np.asarray(variances / variances.sum())


@draw.register
def _power_law(spec: PowerLawFeatures, seed: int, number: int, n: int) -> Arrays:
    scale = np.sqrt(spectrum(spec)).astype(np.float32)
    x = stream(seed, number).standard_normal((n, spec.inputs), np.float32) * scale
    y = x.sum(axis=1, dtype=np.float64)
    y += spec.noise * stream(seed, number + NOISE).standard_normal(n)
    return {"x": x, "y": y[:, None].astype(np.float32)}


@draw.register
def _manifold(spec: ManifoldTeacher, seed: int, number: int, n: int) -> Arrays:
    z = stream(seed, number).uniform(-1, 1, (n, spec.dimension))
    rng = stream(seed, FIXED)
    # The scales keep targets and bends as smooth in many dimensions as in few.
    scale = 2 / math.sqrt(spec.dimension)
    bend = scale * rng.standard_normal((spec.dimension, spec.inputs))
    phase = rng.uniform(0, 2 * np.pi, spec.inputs)
    teach = _smooth_function(spec, rng)
    probe = teach(stream(seed, PROBE).uniform(-1, 1, (PROBES, spec.dimension)))
    # √2 gives a sine unit scale.
    x = math.sqrt(2) * np.sin(z @ bend + phase)
    y = (teach(z) - probe.mean(axis=0)) / probe.std(axis=0)
    return {"x": x.astype(np.float32), "y": y.astype(np.float32)}


def _smooth_function(spec: ManifoldTeacher, rng: np.random.Generator) -> Function:
    width = spec.teacher_width
    scale = 4 / math.sqrt(spec.dimension)
    first = scale * rng.standard_normal((spec.dimension, width))
    shift = rng.standard_normal(width)
    second = rng.standard_normal((width, width)) / math.sqrt(width)
    last = rng.standard_normal((width, 1)) / math.sqrt(width)
    return lambda z: np.tanh(np.tanh(z @ first + shift) @ second) @ last


def task_probabilities(spec: SparseParity) -> Reals:
    """The share of examples of each task, the most frequent first."""
    weights = np.arange(1, spec.tasks + 1.0) ** -(1 + spec.alpha)
    return np.asarray(weights / weights.sum())


@draw.register
def _parity(spec: SparseParity, seed: int, number: int, n: int) -> Arrays:
    rng, fixed = stream(seed, number), stream(seed, FIXED)
    # In one draw of uniforms per example, so that more examples begin with the fewer.
    drawn = rng.random((n, 1 + spec.bits), np.float32)
    task = np.searchsorted(np.cumsum(task_probabilities(spec))[:-1], drawn[:, 0])
    bits = (drawn[:, 1:] < 0.5).astype(np.int8)
    sets = np.array(list(itertools.combinations(range(spec.bits), spec.order)))
    tested = sets[fixed.permutation(len(sets))[: spec.tasks]]
    y = np.take_along_axis(bits, tested[task], axis=1).sum(axis=1) % 2
    x = np.zeros((n, spec.tasks + spec.bits), np.int8)
    x[np.arange(n), task] = 1
    x[:, spec.tasks :] = 2 * bits - 1
    return {"x": x, "y": y.astype(np.int32)}


def transitions(spec: ZipfMarkov, seed: int) -> Reals:
    """The probability of each next token (column) after each token (row)."""
    ranks = np.argsort(stream(seed, FIXED).random((spec.vocab, spec.vocab)), axis=1)
    return np.asarray(spec.probabilities())[ranks]


def _markov(spec: ZipfMarkov, seed: int) -> Dataset:
    sequences = spec.unique_tokens // spec.context
    return row_dataset(
        train={"tokens": _chain(spec, seed, TRAIN, sequences)},
        held_out={"tokens": _chain(spec, seed, HELD_OUT, spec.eval_sequences)},
        examples=sequences,
        gather=_next_tokens,
    )


def _next_tokens(arrays: Arrays, offsets: Array) -> Pair:
    tokens = arrays["tokens"][offsets]
    return tokens[..., :-1], tokens[..., 1:]


def _chain(spec: ZipfMarkov, seed: int, number: int, n: int) -> NDArray[np.uint16]:
    """`n` independent sequences of `context` tokens and their last target."""
    cumulative = np.cumsum(transitions(spec, seed), axis=1)[:, :-1]
    rng = stream(seed, number)
    drawn = rng.random((n, spec.context + 1), np.float32)
    out = np.empty((n, spec.context + 1), np.uint16)
    # The first token is uniform rather than stationary: every row's entropy is equal.
    state = (drawn[:, 0] * spec.vocab).astype(np.int64)
    out[:, 0] = state
    for t in range(1, spec.context + 1):
        state = (drawn[:, t, None] > cumulative[state]).sum(axis=1)
        out[:, t] = state
    return out


@draw.register
def _two_moons(spec: TwoMoons, seed: int, number: int, n: int) -> Arrays:
    drawn = stream(seed, number).random((n, 2))
    side = np.where(drawn[:, 0] < 0.5, -1.0, 1.0)
    angle = np.pi * drawn[:, 1]
    x = np.stack([np.cos(angle) * side - side / 2, np.sin(angle) * side], axis=1)
    x[:, 1] -= side / 4
    x += spec.noise * stream(seed, number + NOISE).standard_normal((n, 2))
    return {"x": x.astype(np.float32), "y": side[:, None].astype(np.float32)}
