"""The spec of labelled images: their files, their size, and how they are varied."""

from __future__ import annotations

from harness.data.catalog import named_images
from harness.data.stored import Stored
from harness.errors import SpecError
from harness.specs.base import at_least, spec
from harness.specs.task import TaskShape


@spec
class Images(Stored):
    """Classification of images.

    `data` is a name that `harness data list` shows (its files lie in the cache), a
    folder with IDX files (plain or .gz) or CIFAR batches (binary or Python), or an
    `.npz` file with x, y, x_test, y_test. The shape of a named data set is known;
    for others give `height`, `width`, `channels` and `classes`.

    The fields from `crop` on vary training images, never evaluated ones: `crop` moves
    an image by up to that many pixels and fills up with black (a random crop of the
    padded image), `shift` does so and repeats the border, `flip` mirrors half of the
    images, `cutout` blacks out a square of that side (DeVries & Taylor 2017,
    arXiv:1708.04552), and `mixup` mixes pairs by a Beta(mixup, mixup) share (Zhang et
    al. 2018, arXiv:1710.09412).
    """

    source = "images"
    reader = "harness.data.images.read"
    height: int | None = None
    width: int | None = None
    channels: int | None = None
    classes: int | None = None
    crop: int = 0
    shift: int = 0
    flip: bool = False
    cutout: int = 0
    mixup: float = 0.0

    def validate(self) -> None:
        Stored.validate(self)
        at_least(self, 1, "height", "width", "channels")
        at_least(self, 2, "classes")
        at_least(self, 0, "crop", "shift", "cutout", "mixup")
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
        named = named_images()
        known = named[self.data].shape if self.data in named else (None,) * 4
        given = (self.height, self.width, self.channels, self.classes)
        height, width, channels, classes = (
            b if a is None else a for a, b in zip(given, known, strict=True)
        )
        if height is None or width is None or channels is None or classes is None:
            raise SpecError(
                f"the shape of {self.data} is not known: give height, width, channels "
                f"and classes, or a name ({', '.join(named)})"
            )
        return height, width, channels, classes

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
    def augmented(self) -> bool:
        """Whether training images are varied."""
        return bool(self.crop or self.shift or self.flip or self.cutout or self.mixup)

    def program_key(self) -> tuple[object, ...]:
        variation = (self.crop, self.shift, self.flip, self.cutout, self.mixup)
        return (*Stored.program_key(self), variation)
