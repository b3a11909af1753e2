"""Examples that lie in files: which of them are trained on, which evaluated."""

from __future__ import annotations

import dataclasses
from typing import Literal

from harness.errors import SpecError
from harness.specs.base import at_least
from harness.specs.run import DataSpec


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Stored(DataSpec):
    """The base of the sources whose examples lie in files, each with a target.

    `validation_examples` are taken out of the training examples, the same for every
    seed; `evaluate` says whether they or the test examples are evaluated, and
    `eval_examples` how many of them. `unique_examples` keeps that many training
    examples, as evenly spread over the classes as possible; a smaller subset lies
    inside a larger one. `digest` is the hash of all examples, whatever files they lie
    in.
    """

    data: str = dataclasses.field(metadata={"identity": False})
    evaluate: Literal["test", "validation"] = "test"
    validation_examples: int = 0
    eval_examples: int | None = None
    unique_examples: int | None = None
    digest: str | None = None

    def validate(self) -> None:
        at_least(self, 1, "unique_examples")
        at_least(self, 2, "eval_examples")
        at_least(self, 0, "validation_examples")
        if self.evaluate == "validation" and self.validation_examples < 2:
            raise SpecError(
                "evaluate 'validation' needs validation_examples of at least 2"
            )

    @property
    def resolved(self) -> bool:
        return None not in (self.digest, self.unique_examples, self.eval_examples)

    @property
    def unique(self) -> int:
        if self.unique_examples is None:
            raise SpecError("unique_examples is not known before the files are read")
        return self.unique_examples

    def program_key(self) -> tuple[object, ...]:
        # A subset is a choice among the same arrays.
        return (
            self.digest,
            self.evaluate,
            self.validation_examples,
            self.eval_examples,
        )
