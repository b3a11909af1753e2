"""A data source as a user would add one: products of two numbers."""

import numpy as np

from harness.data.dataset import row_dataset, rows
from harness.specs.base import spec
from harness.specs.run import DataSpec
from harness.specs.task import TaskShape


@spec
class Products(DataSpec):
    """Products of two normal numbers."""

    source = "products_of_two"
    reader = __name__
    examples: int = 64

    @property
    def shape(self):
        return TaskShape(kind="vectors", length=1, inputs=2, outputs=1)

    @property
    def unique(self):
        return self.examples


def load(spec, seed_data):
    """The arrays: the last 32 rows are held out."""
    x = np.random.default_rng(seed_data).normal(size=(spec.examples + 32, 2))
    arrays = {"x": x.astype("float32"), "y": x.prod(1, keepdims=True).astype("float32")}
    return row_dataset(
        train={name: array[:-32] for name, array in arrays.items()},
        held_out={name: array[-32:] for name, array in arrays.items()},
        examples=spec.examples,
        gather=rows,
    )
