"""Controls: synthetic data whose scaling laws are known. No files are read."""

from __future__ import annotations

import dataclasses
import math

from harness.errors import SpecError
from harness.specs.base import at_least, spec
from harness.specs.run import DataSpec
from harness.specs.task import TaskShape


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Drawn(DataSpec):
    """The base of the sources whose examples are vectors, drawn one by one.

    The same `seed_data` draws the same examples in the same order, so smaller training
    sets lie inside larger ones.
    """

    reader = "harness.data.synthetic.read"
    unique_examples: int = 65536
    eval_examples: int = 4096

    def validate(self) -> None:
        at_least(self, 1, "unique_examples")
        at_least(self, 2, "eval_examples")

    @property
    def unique(self) -> int:
        return self.unique_examples


def _vectors(inputs: int, outputs: int = 1) -> TaskShape:
    """The shape of regression from vectors."""
    return TaskShape(kind="vectors", length=1, inputs=inputs, outputs=outputs)


@spec
class TeacherStudent(Drawn):
    """Regression on the outputs of a fixed random tanh network (the teacher).

    Inputs are standard normal, targets have unit variance plus Gaussian `noise` (its
    standard deviation). The same `seed_data` draws the same teacher.
    """

    source = "teacher_student"
    inputs: int = 16
    outputs: int = 1
    teacher_width: int = 64
    teacher_depth: int = 2
    noise: float = 0.0

    def validate(self) -> None:
        Drawn.validate(self)
        at_least(self, 1, "inputs", "outputs", "teacher_width", "teacher_depth")
        at_least(self, 0, "noise")

    @property
    def shape(self) -> TaskShape:
        return _vectors(self.inputs, self.outputs)


@spec
class PowerLawFeatures(Drawn):
    """Linear regression on `inputs` Gaussian features with a power-law spectrum.

    Feature j has variance j^-(1 + `spectrum`); the target is the sum of all features,
    scaled to unit variance, plus Gaussian `noise` (a standard deviation).

    Theory. A linear model on N random features of these leaves the tail of the
    spectrum, N^-spectrum (Bahri et al. 2021, arXiv:2102.06701; Maloney, Roberts & Sully
    2022, arXiv:2210.16859). One-pass gradient descent from zero has learned feature j
    after about 1 / variance steps, so D examples leave D^-(spectrum / (1 + spectrum)).
    This is phase Ia of Paquette et al. 2024 (arXiv:2405.15074) with 2·alpha =
    1 + spectrum and beta = 0; there the loss at the optimal split of C ∝ N·D falls as
    C^-(spectrum / (2 + spectrum)), and N* grows as C^(1 / (2 + spectrum)).
    """

    source = "power_law_features"
    inputs: int = 1024
    spectrum: float = 1.0
    noise: float = 0.0

    def validate(self) -> None:
        Drawn.validate(self)
        at_least(self, 1, "inputs")
        at_least(self, 0, "noise", "spectrum")
        if self.spectrum == 0:
            raise SpecError("PowerLawFeatures.spectrum is 0; it must be positive")

    @property
    def shape(self) -> TaskShape:
        return _vectors(self.inputs)


@spec
class ManifoldTeacher(Drawn):
    """Regression on a curved manifold of `dimension` k in `inputs` dimensions.

    Latent points are uniform on [-1, 1]^k; a fixed random map of sines bends them into
    `inputs` coordinates of unit scale. The target, of unit variance, is a fixed random
    smooth function of the latent point: a tanh network of `teacher_width`.

    Theory. A network of N parameters cuts the manifold into about N pieces of linear
    size N^-1/k and is linear on each; the squared error of a smooth target then falls
    as size^4 = N^-4/k (Sharma & Kaplan 2022, JMLR 23(9), arXiv:2004.10802, who measure
    about 4/k for trained students; it is a bound for generic targets, not an identity).
    """

    source = "manifold_teacher"
    dimension: int = 4
    inputs: int = 16
    teacher_width: int = 32

    def validate(self) -> None:
        Drawn.validate(self)
        at_least(self, 1, "dimension", "inputs", "teacher_width")
        if self.inputs < 2 * self.dimension:
            raise SpecError(
                f"a manifold of dimension {self.dimension} needs room to bend: set "
                f"inputs to at least {2 * self.dimension}"
            )

    @property
    def shape(self) -> TaskShape:
        return _vectors(self.inputs)


@spec
class SparseParity(Drawn):
    """Many parity tasks, met with power-law frequency: the multitask sparse parity.

    An example is the one-hot number of one of `tasks` tasks, then `bits` random bits
    (±1). Task i, met with probability ∝ i^-(1 + `alpha`), asks for the parity (a class,
    0 or 1) of its own `order` of the bits.

    Theory (Michaud et al. 2023, arXiv:2303.13506; solved exactly by Nam et al. 2024,
    arXiv:2404.17563). Tasks are learned whole, the frequent ones first. A model with
    room for n ∝ N of them leaves the rest at ln 2 each: loss ∝ N^-alpha. A task is
    learned once it was met often enough, so D examples teach n ∝ D^(1 / (1 + alpha)):
    loss ∝ D^-(alpha / (1 + alpha)).
    """

    source = "sparse_parity"
    tasks: int = 100
    bits: int = 32
    order: int = 2
    alpha: float = 0.5

    def validate(self) -> None:
        Drawn.validate(self)
        at_least(self, 1, "tasks", "bits", "order")
        at_least(self, 0, "alpha")
        if math.comb(self.bits, min(self.order, self.bits)) < self.tasks:
            raise SpecError(
                f"{self.bits} bits have fewer than {self.tasks} different sets of "
                f"{self.order}; raise bits or lower tasks"
            )

    @property
    def shape(self) -> TaskShape:
        return TaskShape(
            kind="vectors",
            length=1,
            inputs=self.tasks + self.bits,
            outputs=2,
            target="class",
        )


@spec
class ZipfMarkov(DataSpec):
    """Tokens of a Markov chain whose entropy rate is known: the irreducible loss.

    From each of `vocab` tokens, the next one is drawn from a Zipf distribution,
    p_r ∝ r^-`exponent` over ranks r, ranked by a random permutation of that token's
    own. All rows of the transition matrix have the entropy of the Zipf distribution,
    so the entropy rate (Shannon 1948) is exactly that, `entropy` nats per token,
    whatever `seed_data` drew.

    Theory. No model has a lower expected loss; a model that can express the matrix
    comes as close as the examples allow, with an excess of about (free parameters) /
    (2 D) nats for maximum likelihood.
    """

    source = "zipf_markov"
    reader = Drawn.reader
    vocab: int = 64
    exponent: float = 1.0
    context: int = 64
    unique_tokens: int = 2**20
    eval_sequences: int = 256

    def validate(self) -> None:
        at_least(self, 2, "vocab", "eval_sequences")
        at_least(self, 1, "context", "unique_tokens")
        at_least(self, 0, "exponent")
        if self.unique_tokens % self.context:
            raise SpecError(
                f"ZipfMarkov.unique_tokens {self.unique_tokens} is not a multiple of "
                f"context {self.context}"
            )

    def probabilities(self) -> list[float]:
        """The probabilities of the ranks, largest first; the same for every token."""
        weights = [rank**-self.exponent for rank in range(1, self.vocab + 1)]
        return [weight / math.fsum(weights) for weight in weights]

    @property
    def entropy(self) -> float:
        """The entropy rate in nats per token: the lowest expected loss of any model."""
        return -math.fsum(p * math.log(p) for p in self.probabilities())

    @property
    def shape(self) -> TaskShape:
        return TaskShape(
            kind="tokens",
            length=self.context,
            inputs=self.vocab,
            outputs=self.vocab,
            target="next_token",
        )

    @property
    def unique(self) -> int:
        return self.unique_tokens


@spec
class TwoMoons(Drawn):
    """Two features, two classes: interleaved half circles with Gaussian `noise`.

    The classes are -1 and 1, as a real target. A picture for a first classifier, not a
    control: nothing about its scaling is known.
    """

    source = "two_moons"
    noise: float = 0.2
    unique_examples: int = 100
    eval_examples: int = 1000

    def validate(self) -> None:
        Drawn.validate(self)
        at_least(self, 0, "noise")

    @property
    def shape(self) -> TaskShape:
        return _vectors(2)
