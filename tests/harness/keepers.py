"""A keeper for tests that do not resume."""

from __future__ import annotations

from harness.training.loop import Progress, Snapshot
from harness.training.step import State


class Forgetful:
    """Keeps nothing: every training starts at step 0."""

    def newest(self, part: str, until: int, like: State) -> Snapshot | None:
        """None."""

    def reached(self, moment: Progress) -> None:
        """Goes on."""

    def due(self) -> bool:
        """Never."""
        return False

    def keep(
        self, moment: Progress, position: Snapshot, trunk: Snapshot | None
    ) -> None:
        """Keeps nothing."""

    def complete(self, moment: Progress, position: Snapshot) -> None:
        """Goes on."""
