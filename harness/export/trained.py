"""A trained model: its run and its weights, and what can be done with them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import overload

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from harness.data import dataset as datasets
from harness.data.text.codec import codec_of
from harness.errors import SpecError
from harness.export import sampling
from harness.families.arrays import PyTree, tree_of
from harness.families.build import Model, build
from harness.optimizers.update import hyper
from harness.specs.reading import resolve
from harness.specs.run import SEEDS, DataSpec, RunSpec
from harness.specs.task import TaskShape
from harness.training.device import DTYPES
from harness.training.evaluation import Evaluator, held_out
from harness.training.history import History
from harness.training.sharding import ONE_DEVICE
from harness.training.step import functions
from harness.training.tensors import read_tensors, write_tensors
from harness.workers.record import bits_per_byte


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """The weights that a run ended with, and the model that they are of.

    Attributes:
        run: the run's spec, with what was read of its data.
        params: a nested dict of arrays.
    """

    run: RunSpec
    params: PyTree

    @classmethod
    def load(cls, path: str | Path) -> Trained:
        """The weights in a file that `save` wrote.

        Raises `StoreError` if it is another kind of file, or of another model.
        """
        run, arrays = read_tensors(Path(path))
        return cls.of(run, arrays)

    @classmethod
    def of(cls, run: RunSpec, arrays: Mapping[str, np.ndarray]) -> Trained:
        """The run with its named arrays. Raises `StoreError` if they do not fit it."""
        model = _model(run)
        like = jax.eval_shape(model.init, jax.random.key(0))
        return cls(run=run, params=jax.device_put(tree_of(arrays, like)))

    def save(self, path: str | Path) -> None:
        """Writes the weights and the spec as one safetensors file."""
        write_tensors(Path(path), self.run, self.params)

    @property
    def task(self) -> TaskShape:
        """The shape of the model's inputs and targets."""
        return self.run.data.shape

    @functools.cached_property
    def model(self) -> Model:
        """The model as pure functions of parameters and inputs, for jax code."""
        return _model(self.run)

    @functools.cached_property
    def _applied(self) -> jax.stages.Wrapped:
        return jax.jit(self.model.apply)

    @functools.cached_property
    def _sampler(self) -> sampling.Sampler:
        return sampling.sampler(self.model, self.task)

    def apply(self, inputs: ArrayLike) -> jax.Array:
        """Logits or real outputs of a batch of B examples, in the run's precision.

        The inputs are those of the task's kind: "tokens" (B, T) ids, "vectors" (B, I),
        "images" (B, height, width, channels) in [0, 1], "sequences" (B, T, I). Outputs
        are (B, O), or (B, T, V) where the next token is predicted. Raises `SpecError`
        for inputs of another shape, and for ids beyond the vocabulary.
        """
        return jnp.asarray(self._applied(self.params, self.checked(inputs)))

    def checked(self, inputs: ArrayLike) -> np.ndarray:
        """The inputs in the type that the model reads. Raises as `apply` does."""
        array, (shape, dtype) = np.asarray(inputs), example(self.task)
        if array.shape[1:] != shape or array.ndim != 1 + len(shape):
            wanted = ", ".join(map(str, ("B", *shape)))
            raise SpecError(
                f"inputs of shape {array.shape} are not {self.task.kind} ({wanted}) "
                f"as {self.run.model.family} was trained on"
            )
        if dtype == np.int32:
            check_ids(array.ravel(), self.task.inputs)
        return array.astype(dtype)

    def evaluate(self, data: DataSpec | None = None) -> dict[str, float]:
        """Loss and metrics on held-out examples, named as columns of a runs table.

        By default they are the run's own, and so are the numbers, to the last digit on
        the same kind of device, if it was trained alone; a member of a population
        agrees up to rounding.

        Args:
            data: other data of the same shape, whose held-out part is evaluated.

        Raises:
            SpecError: the data have another shape.
            DataError: the data are missing or malformed.
        """
        data = self.run.data if data is None else resolve(data)
        if data.shape != self.task:
            raise SpecError(
                f"the run was trained on {self.task}, and cannot be evaluated on "
                f"{data.shape}; give data of equal shape"
            )
        dataset = datasets.load(data, self.run.seed_data)
        of_loss = hyper(self.run).loss
        evaluator = Evaluator(
            function=jax.jit(functions(self.model, dataset.gather, self.run).evaluate),
            weights=jax.eval_shape(lambda: (self.params, of_loss)),
            sharding=ONE_DEVICE,
            run=self.run,
            population=1,
        )
        examples = evaluator.compile(evaluator.place(dataset, *held_out(dataset)))
        ((losses, metrics),) = examples.evaluate(self.params, of_loss)()
        return self._summary(losses, metrics, data)

    def _summary(
        self, losses: np.ndarray, metrics: Mapping[str, float], data: DataSpec
    ) -> dict[str, float]:
        history = History()
        history.add_evaluation(self.run.steps, losses, dict(metrics), {})
        if not history.evaluations:
            return {"loss": float(losses.mean()), **metrics}
        (final,) = history.evaluations
        run = dataclasses.replace(self.run, data=data)
        per_byte = bits_per_byte(run, final.loss)
        bits = {} if per_byte is None else {"bits_per_byte": per_byte}
        return {"loss": final.loss, "loss_se": final.loss_se, **bits, **final.metrics}

    @overload
    def sample(
        self,
        prompt: str,
        tokens: int,
        temperature: float = ...,
        top_k: int | None = ...,
        seed: int = ...,
    ) -> str: ...
    @overload
    def sample(
        self,
        prompt: Sequence[int],
        tokens: int,
        temperature: float = ...,
        top_k: int | None = ...,
        seed: int = ...,
    ) -> list[int]: ...
    def sample(
        self,
        prompt: str | Sequence[int],
        tokens: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        seed: int = 0,
    ) -> str | list[int]:
        """What the language model writes after a prompt: `tokens` more tokens.

        Of a prompt in text comes text, of token ids come token ids. A transformer sees
        no more tokens at once than it was trained on: of a longer prompt the last T,
        and where its window is full, it goes on with the last half of it. Recurrent
        families remember all there was.

        Args:
            prompt: text, if the run's data say how it becomes tokens, or token ids.
            tokens: how many are drawn.
            temperature: divides the logits; 0 takes the likeliest token each time.
            top_k: draws from the likeliest tokens only, so many of them.
            seed: the same seed draws the same tokens.

        Raises:
            SpecError: the model predicts no next token, or an argument makes no sense.
            DataError: the data do not say how text becomes tokens.
        """
        if self.task.target != "next_token":
            raise SpecError(
                f"{self.run.model.family} predicts a {self.task.target}, no next "
                "token: only language models are sampled from"
            )
        choice = _choice(self.task.inputs, tokens, temperature, top_k, seed)
        if not isinstance(prompt, str):
            return self._draw(list(prompt), tokens, choice)
        codec = codec_of(self.run.data)
        return codec.decode(self._draw(codec.encode(prompt), tokens, choice))

    def _draw(
        self, prompt: list[int], tokens: int, choice: sampling.Choice
    ) -> list[int]:
        if not prompt:
            raise SpecError(
                "the prompt is empty; give at least one token to go on from"
            )
        check_ids(np.asarray(prompt), self.task.inputs)
        return self._sampler.draw(self.params, prompt, tokens, choice)


def _model(run: RunSpec) -> Model:
    return build(run.model, run.data.shape, DTYPES[run.precision])


def example(task: TaskShape) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    """Shape and type of one input of a task."""
    integers, reals = np.dtype(np.int32), np.dtype(np.float32)
    match task.kind:
        case "tokens":
            return (task.length,), integers
        case "vectors":
            return (task.inputs,), reals
        case "images":
            return (*task.size, task.inputs), reals
        case "sequences":
            return (task.length, task.inputs), reals


def check_ids(ids: np.ndarray, vocab: int) -> None:
    """Raises `SpecError` unless all are token ids of a vocabulary."""
    if ids.dtype.kind not in "iu":
        raise SpecError(f"token ids are integers, not {ids.dtype}")
    if len(wrong := ids[(ids < 0) | (ids >= vocab)]):
        raise SpecError(
            f"token id {wrong[0]} is not in the vocabulary; ids lie from 0 to "
            f"{vocab - 1}"
        )


def _choice(
    vocab: int, tokens: int, temperature: float, top_k: int | None, seed: int
) -> sampling.Choice:
    """The choice that the arguments of `sample` ask for, if they make sense."""
    if tokens < 1:
        raise SpecError(f"tokens is {tokens}; draw at least 1")
    if not 0 <= temperature < float("inf"):
        raise SpecError(f"temperature is {temperature}; give a number from 0 up")
    if top_k is not None and top_k < 1:
        raise SpecError(f"top_k is {top_k}; draw from at least 1 token")
    if not 0 <= seed < SEEDS:
        raise SpecError(f"seed is {seed}; seeds lie from 0 to 2^32 - 1")
    return sampling.Choice(
        temperature=np.float32(temperature),
        top_k=np.int32(vocab if top_k is None else min(top_k, vocab)),
        seed=np.uint32(seed),
    )
