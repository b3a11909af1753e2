"""A checkpointer for tests that do not resume."""

from __future__ import annotations

from harness.training.snapshot import Progress, Snapshot
from harness.training.step import State


class Forgetful:
    """Keeps nothing: every training starts at step 0."""

    def newest(self, segment: str, until: int, like: State) -> Snapshot | None:
        """None."""

    def reached(self, progress: Progress) -> None:
        """Goes on."""

    def due(self) -> bool:
        """Never."""
        return False

    def keep(
        self, progress: Progress, snapshot: Snapshot, trunk: Snapshot | None
    ) -> None:
        """Keeps nothing."""

    def keep_trunk(self, runs, snapshot) -> None:
        """Forgets it."""

    def complete(self, progress: Progress, snapshot: Snapshot) -> None:
        """Goes on."""
