"""Tokens drawn from a language model, one after another, in one compiled program.

A program fills a window of as many positions as the model is trained on. It keeps what
the tokens so far leave behind (keys and values, or states); a family that has no such
path computes the whole window for each token. Which token is drawn depends on the seed
and on how many were drawn before it, and on neither the path nor the windows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from harness.families.arrays import PyTree
from harness.families.build import Model
from harness.specs.task import TaskShape


class Choice(NamedTuple):
    """How a token is chosen among all; values, which are no reason to compile."""

    temperature: PyTree
    """Divides the logits; 0 takes the likeliest token."""
    top_k: PyTree
    """Only so many of the likeliest tokens are drawn, and those that tie with them."""
    seed: PyTree


class Filling(NamedTuple):
    """A window that is being filled: its tokens, the position read next, the cache."""

    tokens: PyTree
    """Ids (T + 1,): the last is predicted, and not read any more."""
    position: PyTree
    cache: PyTree


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Sampler:
    """The compiled program of a language model that draws tokens."""

    length: int
    """T."""
    vocab: int
    unbounded: bool
    """Whether a window goes on with the cache of the one before it."""
    start: Callable[[PyTree], PyTree]
    """The cache before the first token, of the parameters."""
    fill: Callable[..., Filling]

    def draw(
        self, params: PyTree, prompt: Sequence[int], count: int, choice: Choice
    ) -> list[int]:
        """`count` tokens that follow the prompt."""
        ids = list(prompt)
        if self.unbounded:
            self._with_state(params, ids, len(ids) + count, choice)
        else:
            self._in_windows(params, ids, len(ids) + count, choice)
        return ids[len(prompt) :]

    def _in_windows(
        self, params: PyTree, ids: list[int], total: int, choice: Choice
    ) -> None:
        """Appends tokens, each drawn given those of its window."""
        n_prompt = len(ids)
        first = max(0, n_prompt - self.length)
        while len(ids) < total:
            if len(ids) - first > self.length:
                first = len(ids) - max(1, self.length // 2)
            known, until = len(ids) - first, min(self.length + 1, total - first)
            window = self._window(ids[first:], self.start(params))
            filled = self.fill(params, window, known, until, first - n_prompt, choice)
            ids += np.asarray(filled.tokens)[known:until].tolist()

    def _with_state(
        self, params: PyTree, ids: list[int], total: int, choice: Choice
    ) -> None:
        """Appends tokens, each drawn given all before it."""
        n_prompt, read, cache = len(ids), 0, self.start(params)
        while len(ids) < total:
            ahead = ids[read : read + self.length + 1]
            known, until = len(ahead), min(self.length + 1, total - read)
            window = self._window(ahead, cache)
            filled = self.fill(params, window, known, until, read - n_prompt, choice)
            ids += np.asarray(filled.tokens)[known:until].tolist()
            read, cache = read + until - 1, filled.cache

    def _window(self, ids: Sequence[int], cache: PyTree) -> Filling:
        tokens = np.zeros(self.length + 1, np.int32)
        tokens[: len(ids)] = ids
        return Filling(tokens, np.int32(0), cache)


def sampler(model: Model, task: TaskShape) -> Sampler:
    """The program that draws tokens from a model, compiled at its first use."""
    stepping = model.stepping

    def start(params: PyTree) -> PyTree:
        return stepping.empty(params, 1) if stepping else ()

    def logits_after(params: PyTree, window: Filling) -> tuple[jax.Array, PyTree]:
        if not stepping:
            logits_BTV = model.apply(params, window.tokens[None, :-1])
            return logits_BTV[0, window.position], ()
        token = window.tokens[window.position]
        logits_BV, cache = stepping.step(
            params, token[None], window.position, window.cache
        )
        return logits_BV[0], cache

    def fill(
        params: PyTree,
        window: Filling,
        known: jax.Array,
        until: jax.Array,
        offset: jax.Array,
        choice: Choice,
    ) -> Filling:
        """The window with tokens [known, until) drawn.

        `offset` and a position add up to the number of its token among those drawn.
        """

        def read_one(window: Filling) -> Filling:
            logits_V, cache = logits_after(params, window)
            following = window.position + 1
            token = jnp.where(
                following < known,
                window.tokens[following],
                choose(logits_V, choice, offset + following),
            )
            tokens = window.tokens.at[following].set(token)
            return Filling(tokens, following, cache)

        if not stepping:
            # Each position is computed from all: the prompt's need not be.
            window = window._replace(position=known - 1)
        filled: Filling
        filled = jax.lax.while_loop(lambda w: w.position < until - 1, read_one, window)
        return filled

    return Sampler(
        length=task.length,
        vocab=task.inputs,
        unbounded=bool(stepping and stepping.unbounded),
        start=jax.jit(start),
        fill=jax.jit(fill),
    )


def choose(logits_V: jax.Array, choice: Choice, index: jax.Array) -> jax.Array:
    """The id that is drawn as number `index`, or the likeliest at temperature 0."""
    logits_V = logits_V.astype(jnp.float32)
    V = len(logits_V)

    def among_likeliest() -> jax.Array:
        least = jnp.sort(logits_V)[V - choice.top_k]
        return jnp.where(logits_V >= least, logits_V, -jnp.inf)

    def draw() -> jax.Array:
        key = jax.random.fold_in(jax.random.key(choice.seed), jnp.maximum(index, 0))
        some_V = jax.lax.cond(choice.top_k < V, among_likeliest, lambda: logits_V)
        return jax.random.categorical(key, some_V / choice.temperature)

    def likeliest() -> jax.Array:
        return jnp.argmax(logits_V)

    chosen = jax.lax.cond(choice.temperature > 0, draw, likeliest)
    return jnp.asarray(chosen, jnp.int32)
