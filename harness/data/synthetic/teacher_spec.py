"""Regression on a random network. No files are read."""

from __future__ import annotations

from harness.specs.base import at_least, spec
from harness.specs.run import DataSpec
from harness.specs.task import TaskShape


@spec
class TeacherStudent(DataSpec):
    """Regression on the outputs of a fixed random tanh network (the teacher).

    Inputs are standard normal, targets have unit variance plus Gaussian `noise` (its
    standard deviation). The same `seed_data` draws the same teacher and the same
    examples in the same order, so smaller training sets lie inside larger ones.
    """

    source = "teacher_student"
    reader = "harness.data.synthetic.teacher"
    inputs: int = 16
    outputs: int = 1
    teacher_width: int = 64
    teacher_depth: int = 2
    noise: float = 0.0
    unique_examples: int = 65536
    eval_examples: int = 4096

    def validate(self) -> None:
        at_least(self, 1, "inputs", "outputs", "teacher_width", "teacher_depth")
        at_least(self, 1, "unique_examples")
        at_least(self, 2, "eval_examples")
        at_least(self, 0, "noise")

    @property
    def shape(self) -> TaskShape:
        return TaskShape(
            kind="vectors", length=1, inputs=self.inputs, outputs=self.outputs
        )

    @property
    def unique(self) -> int:
        return self.unique_examples
