"""The history of a run: a loss per step, and evaluations on a grid of steps."""

from __future__ import annotations

import base64
import dataclasses
import math
from array import array

import numpy as np

from harness.specs.canonical import JsonObject

LAST = 32
"""Steps at a run's end whose mean training loss stands for the end."""
LITTLE = np.dtype("<f4")
"""The bytes of losses in JSON: the same on every machine."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """Held-out loss after `step` updates (nats per token, or mean squared error)."""

    step: int
    loss: float
    loss_se: float
    seconds: float
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    """Further metrics of the predictions, by name."""
    train_metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    """The same, and `evaluated_loss`, on a sample of the training examples."""


@dataclasses.dataclass(kw_only=True, slots=True)
class History:
    """Losses and evaluations of a run; it ends where the run diverges."""

    losses: array[float] = dataclasses.field(default_factory=lambda: array("f"))
    """Training losses of steps 0, 1, …; four bytes each, as runs have millions."""
    evaluations: list[Evaluation] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    """Seconds of training; a member of a population of P has a P-th of its seconds."""
    diverged_step: int | None = None
    """First step whose training loss, or evaluation, is not finite."""

    def to_json(self) -> JsonObject:
        """Plain JSON values; the losses as the text of their bytes."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        encoded = base64.b64encode(np.asarray(self.losses, LITTLE).tobytes()).decode()
        evaluations = [dataclasses.asdict(e) for e in self.evaluations]
        return values | {"losses": encoded, "evaluations": evaluations}

    @classmethod
    def from_json(cls, values: JsonObject) -> History:
        """The inverse of `to_json`, to the bit."""
        losses = np.frombuffer(base64.b64decode(values["losses"]), LITTLE)
        evaluations = [Evaluation(**e) for e in values["evaluations"]]
        return cls(**{**values, "losses": _array(losses), "evaluations": evaluations})

    def branch(self) -> History:
        """A copy that a branch continues."""
        return dataclasses.replace(
            self, losses=self.losses[:], evaluations=[*self.evaluations]
        )

    def add_losses(self, losses: np.ndarray) -> None:
        """Losses of the next steps, up to the first that is not finite."""
        bad = np.flatnonzero(~np.isfinite(losses))
        if len(bad):
            self.diverged_step = len(self.losses) + int(bad[0])
            losses = losses[: bad[0] + 1]
        self.losses += _array(losses)

    def mean_loss(self, first: int, last: int | None = None) -> float:
        """Mean training loss of steps [first, last); NaN where there are none."""
        return float(np.asarray(self.losses[first:last], np.float64).mean())

    def add_evaluation(
        self,
        step: int,
        losses: np.ndarray,
        metrics: dict[str, float],
        train_metrics: dict[str, float],
    ) -> None:
        """Losses of the held-out examples, and metrics, after `step` updates."""
        if self.diverged_step is not None:
            return
        mean = float(losses.mean())
        if not math.isfinite(mean):
            self.diverged_step = step
            return
        spread = float(losses.std(ddof=1) / math.sqrt(len(losses)))
        self.evaluations.append(
            Evaluation(
                step=step,
                loss=mean,
                loss_se=spread,
                seconds=self.seconds,
                metrics=metrics,
                train_metrics=train_metrics,
            )
        )

    def has_learnt_nothing(self, uniform_guess: float) -> bool:
        """Whether a finished run ends above the loss of its untrained model.

        The untrained model's loss is that of the first evaluation, which comes after
        one step; if that step has more than doubled the loss, it is the training loss
        of step 0, or `uniform_guess` (nats; 0 where there is none), if that is larger.
        The held-out loss must exceed it by three standard errors, so that no run is
        condemned for noise. The last training losses must exceed it as well: a model
        that has learnt its training examples by heart has not diverged. Nor has one
        that is still on its way down from a bad start to the uniform guess.
        """
        if not self.evaluations or not self.losses:
            return False
        first, final = self.evaluations[0], self.evaluations[-1]
        untrained, noise = first.loss, math.hypot(first.loss_se, final.loss_se)
        if first.loss > 2 * max(self.losses[0], uniform_guess):
            untrained = max(self.losses[0], uniform_guess)
            noise = final.loss_se
        risen = final.loss - 3 * noise > untrained
        return risen and self.mean_loss(-LAST) > untrained

    def stopped_step(self, patience: int) -> int | None:
        """Step of the `patience`-th evaluation in a row without a new best loss.

        It follows from the evaluations alone, so a resumed run stops at the same step.
        """
        best, waited = math.inf, 0
        for evaluation in self.evaluations:
            waited = 0 if evaluation.loss < best else waited + 1
            best = min(best, evaluation.loss)
            if patience and waited == patience:
                return evaluation.step
        return None

    def is_over(self, patience: int) -> bool:
        """Whether there is nothing more to see before the run's budget is spent."""
        if self.diverged_step is not None:
            return True
        return bool(patience) and self.stopped_step(patience) is not None


def _array(losses: np.ndarray) -> array[float]:
    return array("f", losses.astype(np.float32).tobytes())


def common_grid(steps: int, per_octave: int) -> list[int]:
    """Steps up to `steps` at which every run is evaluated: round(2^(k / per_octave)).

    It does not depend on a run's length, so a trunk is evaluated alike for all its
    runs. Each run is evaluated at its end as well.
    """
    last = math.ceil(per_octave * math.log2(max(1, steps)))
    grid = {round(2 ** (k / per_octave)) for k in range(last + 1)}
    return sorted(step for step in grid if step <= steps)
