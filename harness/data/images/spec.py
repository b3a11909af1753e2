"""Labelled images: which files, which split, how many, and how they are varied."""

from __future__ import annotations

from dataclasses import field
from typing import Literal, NamedTuple

from harness.errors import SpecError
from harness.specs.base import at_least, spec
from harness.specs.run import DataSpec
from harness.specs.task import TaskShape


class Known(NamedTuple):
    """A data set that is known by name; None where its content hash is not known."""

    shape: tuple[int, int, int, int]
    """Height, width, channels, classes."""
    train: int
    test: int
    digest: str | None = None


KNOWN = {
    "mnist": Known((28, 28, 1, 10), 60_000, 10_000, "ceda791d3e53beaf"),
    "fashion_mnist": Known((28, 28, 1, 10), 60_000, 10_000, "5f06bd0df99ad3dc"),
    "cifar10": Known((32, 32, 3, 10), 50_000, 10_000),
    "cifar100": Known((32, 32, 3, 100), 50_000, 10_000),
}


@spec
class Images(DataSpec):
    """Classification of images.

    `data` is a name of `KNOWN` (its files lie in the cache, see `harness data`), a
    folder with IDX files (plain or .gz) or CIFAR batches (binary or Python), or an
    `.npz` file with x, y, x_test, y_test. The shape of a named data set is known;
    for others give `height`, `width`, `channels` and `classes`.

    `validation_examples` are taken out of the training examples, the same for every
    seed; `evaluate` says whether they or the test examples are evaluated, and
    `eval_examples` how many of them. `unique_examples` keeps that many training
    examples, as evenly spread over the classes as possible; a smaller subset lies
    inside a larger one.

    The rest varies training images, never evaluated ones: `crop` moves an image by up
    to that many pixels and fills up with black (a random crop of the padded image),
    `shift` does so and repeats the border, `flip` mirrors half of the images, `cutout`
    blacks out a square of that side (DeVries & Taylor 2017, arXiv:1708.04552), and
    `mixup` mixes pairs by a Beta(mixup, mixup) share (Zhang et al. 2018,
    arXiv:1710.09412).
    """

    source = "images"
    reader = "harness.data.images.read"
    data: str = field(metadata={"identity": False})
    height: int | None = None
    width: int | None = None
    channels: int | None = None
    classes: int | None = None
    evaluate: Literal["test", "validation"] = "test"
    validation_examples: int = 0
    eval_examples: int | None = None
    unique_examples: int | None = None
    crop: int = 0
    shift: int = 0
    flip: bool = False
    cutout: int = 0
    mixup: float = 0.0
    digest: str | None = None

    def validate(self) -> None:
        at_least(self, 1, "height", "width", "channels", "unique_examples")
        at_least(self, 2, "classes", "eval_examples")
        at_least(self, 0, "validation_examples", "crop", "shift", "cutout", "mixup")
        if self.evaluate == "validation" and self.validation_examples < 2:
            raise SpecError(
                "evaluate 'validation' needs validation_examples of at least 2"
            )
        if self.crop and self.shift:
            raise SpecError("crop and shift both move the image; set one of them to 0")
        height, width, _, _ = self.dimensions
        if max(self.crop, self.shift, self.cutout) > min(height, width):
            raise SpecError(
                f"crop, shift and cutout must not exceed the image, {height}×{width}"
            )

    @property
    def dimensions(self) -> tuple[int, int, int, int]:
        """Height, width, channels, classes."""
        known = KNOWN[self.data].shape if self.data in KNOWN else (None,) * 4
        given = (self.height, self.width, self.channels, self.classes)
        both = [a if a is not None else b for a, b in zip(given, known, strict=True)]
        if None in both:
            names = ", ".join(KNOWN)
            raise SpecError(
                f"the shape of {self.data} is not known: give height, width, channels "
                f"and classes, or a name ({names})"
            )
        return tuple(both)  # type: ignore[return-value]

    @property
    def shape(self) -> TaskShape:
        height, width, channels, classes = self.dimensions
        return TaskShape(
            kind="images",
            length=1,
            inputs=channels,
            outputs=classes,
            target="class",
            size=(height, width),
        )

    @property
    def resolved(self) -> bool:
        return None not in (self.digest, self.unique_examples, self.eval_examples)

    @property
    def unique(self) -> int:
        if self.unique_examples is None:
            raise SpecError("unique_examples is not known before the images are read")
        return self.unique_examples

    @property
    def augmented(self) -> bool:
        """Whether training images are varied."""
        return bool(self.crop or self.shift or self.flip or self.cutout or self.mixup)

    def program_key(self) -> tuple[object, ...]:
        # A subset is a choice among the same arrays.
        return (
            self.digest,
            self.evaluate,
            self.validation_examples,
            self.eval_examples,
            (self.crop, self.shift, self.flip, self.cutout, self.mixup),
        )
