"""Examples from array and table files: vectors, or sequences of vectors or tokens."""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from harness.errors import SpecError
from harness.specs.base import at_least, spec
from harness.specs.run import DataSpec
from harness.specs.task import TaskShape


@spec
class Table(DataSpec):
    """Classification or regression on rows of numbers, or on sequences of them.

    `data` is an `.npz` file with x and y (and, if there is a test set, x_test and
    y_test), or a parquet file whose columns `label` (comma-separated) are the targets,
    in the order of the classes or outputs, and whose other columns are the features;
    then `test` names the parquet file of the test set.

    x is (n, `inputs`), or with `length` > 1 (n, `length`, `inputs`), or with `tokens`
    (n, `length`) ids below `inputs`. y is (n,) whole numbers in [0, `outputs`) for
    `target` "class", (n,) or (n, `outputs`) for "real". `standardize` shifts and
    scales each feature to mean 0 and variance 1 over the training examples.
    `validation_examples` are split off the training examples for every seed alike;
    subsets of `unique_examples` are nested, and spread over the classes.
    """

    source = "table"
    reader = "harness.data.tables.read"
    data: str = field(metadata={"identity": False})
    test: str | None = field(default=None, metadata={"identity": False})
    label: str | None = None
    inputs: int
    outputs: int
    length: int = 1
    tokens: bool = False
    target: Literal["class", "real"] = "class"
    standardize: bool = True
    evaluate: Literal["test", "validation"] = "test"
    validation_examples: int = 0
    eval_examples: int | None = None
    unique_examples: int | None = None
    digest: str | None = None

    def validate(self) -> None:
        at_least(self, 1, "inputs", "outputs", "length", "unique_examples")
        at_least(self, 0, "validation_examples")
        at_least(self, 2, "eval_examples")
        if self.target == "class" and self.outputs < 2:
            raise SpecError("Table.outputs is the number of classes; it is at least 2")
        if self.evaluate == "validation" and self.validation_examples < 2:
            raise SpecError(
                "evaluate 'validation' needs validation_examples of at least 2"
            )
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

    @property
    def resolved(self) -> bool:
        return None not in (self.digest, self.unique_examples, self.eval_examples)

    @property
    def unique(self) -> int:
        if self.unique_examples is None:
            raise SpecError("unique_examples is not known before the file is read")
        return self.unique_examples

    def program_key(self) -> tuple[object, ...]:
        return (
            self.digest,
            self.evaluate,
            self.validation_examples,
            self.eval_examples,
            self.standardize,
        )
