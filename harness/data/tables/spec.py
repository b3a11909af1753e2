"""Examples from array and table files: vectors, or sequences of vectors or tokens."""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from harness.data.stored import Stored
from harness.errors import SpecError
from harness.specs.base import at_least, spec
from harness.specs.task import TaskShape


@spec
class Table(Stored):
    """Classification or regression on rows of numbers, or on sequences of them.

    `data` is an `.npz` file with x and y (and, if there is a test set, x_test and
    y_test), or a parquet file whose columns `label` (comma-separated) are the targets,
    in the order of the classes or outputs, and whose other columns are the features;
    then `test` names the parquet file of the test set.

    x is (n, `inputs`), or with `length` > 1 (n, `length`, `inputs`), or with `tokens`
    (n, `length`) ids below `inputs`. y is (n,) whole numbers in [0, `outputs`) for
    `target` "class", (n,) or (n, `outputs`) for "real". `standardize` shifts and
    scales each feature to mean 0 and variance 1 over the training examples.
    """

    source = "table"
    reader = "harness.data.tables.read"
    test: str | None = field(default=None, metadata={"identity": False})
    label: str | None = None
    inputs: int
    outputs: int
    length: int = 1
    tokens: bool = False
    target: Literal["class", "real"] = "class"
    standardize: bool = True

    def validate(self) -> None:
        Stored.validate(self)
        at_least(self, 1, "inputs", "outputs", "length")
        if self.target == "class" and self.outputs < 2:
            raise SpecError("Table.outputs is the number of classes; it is at least 2")
        if self.tokens and self.standardize:
            raise SpecError("tokens are not scaled; set standardize=False")

    @property
    def shape(self) -> TaskShape:
        kind: Literal["tokens", "sequences", "vectors"] = "vectors"
        if self.tokens:
            kind = "tokens"
        elif self.length > 1:
            kind = "sequences"
        return TaskShape(
            kind=kind,
            length=self.length,
            inputs=self.inputs,
            outputs=self.outputs,
            target=self.target,
        )

    def program_key(self) -> tuple[object, ...]:
        return (*Stored.program_key(self), self.standardize)
