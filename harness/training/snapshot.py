"""Snapshots of training, and the protocol of whoever keeps them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol, Self

import jax
import jax.numpy as jnp

from harness.sweeps.plan import PlannedRun
from harness.training.history import History
from harness.training.step import State

TRUNK = "trunk"
"""Name of the segment that a trunk's runs share; a branch is named by its run's id."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """The state of training after `step` updates, and the histories up to there."""

    state: State
    step: int
    histories: Sequence[History]
    """One for each member of the population."""

    def copy(self) -> Self:
        """A snapshot that training may use up while this one stays."""
        return dataclasses.replace(
            self,
            state=jax.tree.map(jnp.copy, self.state),
            histories=[history.branch() for history in self.histories],
        )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """The news that a chunk was trained: its runs, their segment, its last step."""

    runs: tuple[PlannedRun, ...]
    """The members of the population; one run, if it is trained by itself."""
    segment: str
    step: int
    new_steps: int
    losses: tuple[float, ...]
    """Each member's last training loss."""
    histories: tuple[History, ...]
    """Each member's history, to be read only."""


class Checkpointer(Protocol):
    """Keeps snapshots, so that training can go on where another process ended."""

    def newest(self, segment: str, until: int, like: State) -> Snapshot | None:
        """The newest sound snapshot of a segment at a step of at most `until`."""
        ...

    def reached(self, progress: Progress) -> None:
        """Is called after each chunk; may raise to stop training."""
        ...

    def due(self) -> bool:
        """Whether to keep the snapshot at the end of the chunk that was just begun."""
        ...

    def keep(
        self, progress: Progress, snapshot: Snapshot, trunk: Snapshot | None
    ) -> None:
        """Keeps a snapshot; may raise to stop training.

        `trunk` is, while a branch is trained, the snapshot that later runs start from.
        """
        ...

    def keep_trunk(self, runs: Sequence[PlannedRun], snapshot: Snapshot) -> None:
        """Keeps the end of the part that the runs' trunks share, for longer runs."""
        ...

    def complete(self, progress: Progress, snapshot: Snapshot) -> None:
        """Is called when runs are at their ends, before they are yielded."""
        ...
