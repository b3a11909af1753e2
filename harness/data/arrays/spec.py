"""Arrays of one's own: a spec that knows them by their content."""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any, Literal, Self

from harness.errors import SpecError
from harness.specs.base import at_least, spec
from harness.specs.run import DataSpec
from harness.specs.task import TaskShape

Kind = Literal["tokens", "vectors", "images", "sequences"]
Target = Literal["next_token", "class", "real"]


@spec
class Arrays(DataSpec):
    """Examples from numpy or jax arrays in memory, made by `Arrays.of`.

    The arrays are kept under the hash of their content: in the cache of data sets, and
    in each results folder whose runs use them, where workers elsewhere find them. All
    fields but `label` and `unique_examples` are read off the arrays.

    Attributes:
        label: a name for people; no part of a run's identity.
        digest: hash of all arrays, training and held out.
        input_kind: the kind of the inputs, as in `TaskShape`.
        length: tokens or time steps of an example; 1 for vectors and images.
        inputs: size of the vocabulary, of vectors, of steps; channels of images.
        outputs: classes, or real outputs.
        height: of an image.
        width: of an image.
        examples: training examples that there are.
        held_out: examples that are held out.
        unique_examples: training examples that are used; a smaller subset lies inside
            a larger one.
    """

    source = "arrays"
    reader = "harness.data.arrays.read"
    label: str = dataclasses.field(default="arrays", metadata={"identity": False})
    digest: str
    input_kind: Kind
    target: Target
    length: int
    inputs: int
    outputs: int
    height: int = 1
    width: int = 1
    examples: int
    held_out: int
    unique_examples: int | None = None

    def validate(self) -> None:
        at_least(self, 1, "length", "inputs", "outputs", "height", "width")
        at_least(self, 1, "examples", "unique_examples")
        at_least(self, 2, "held_out")
        if self.unique_examples is not None and self.unique_examples > self.examples:
            raise SpecError(
                f"Arrays.unique_examples {self.unique_examples:,} were asked for but "
                f"{self.label} has {self.examples:,} training examples"
            )

    @classmethod
    def of(
        cls,
        x: Any,
        y: Any = None,
        *,
        held_out: float | tuple[Any, Any] = 0.1,
        target: Target | None = None,
        context: int | None = None,
        vocab: int | None = None,
        classes: int | None = None,
        label: str = "arrays",
        unique_examples: int | None = None,
    ) -> Self:
        """The spec of arrays, which are checked and kept.

        Args:
            x: inputs: (n, I) vectors, (n, T, I) sequences, (n, height, width, channels)
                images of bytes or of reals in [0, 1], or with `vocab` (n, T) token ids;
                without y also a flat stream of token ids.
            y: targets: (n,) labels, or (n,) or (n, O) reals; none for next tokens.
            held_out: the share of examples to hold out, drawn with equal shares of the
                classes, the same for the same arrays; or inputs and targets of their
                own, or (x, None).
            target: what y holds; by default classes if it holds whole numbers.
            context: tokens that an example of a flat stream is cut to.
            vocab: size of the vocabulary, which makes x token ids; for next tokens by
                default one more than the largest id.
            classes: number of classes; by default one more than the largest label.
            label: a name for people.
            unique_examples: training examples that are used.

        Raises:
            DataError: the arrays are ragged, empty, of different lengths, not finite,
                or hold labels or ids out of range.
        """
        keep = importlib.import_module(cls.reader).keep
        spec: Self = keep(
            x,
            y,
            held_out=held_out,
            target=target,
            context=context,
            vocab=vocab,
            classes=classes,
            label=label,
            unique_examples=unique_examples,
        )
        return spec

    @property
    def shape(self) -> TaskShape:
        return TaskShape(
            kind=self.input_kind,
            length=self.length,
            inputs=self.inputs,
            outputs=self.outputs,
            target=self.target,
            size=(self.height, self.width),
        )

    @property
    def unique(self) -> int:
        examples = self.unique_examples or self.examples
        return examples * (self.length if self.target == "next_token" else 1)

    def program_key(self) -> tuple[object, ...]:
        # A subset is a choice among the same arrays.
        return (self.digest,)
