"""A keeper for tests that do not resume."""

from __future__ import annotations

from harness.training.loop import Moment, Position
from harness.training.step import State


class Forgetful:
    """Keeps nothing: every training starts at step 0."""

    def newest(self, part: str, until: int, like: State) -> Position | None:
        """None."""

    def reached(self, moment: Moment) -> None:
        """Goes on."""

    def due(self) -> bool:
        """Never."""
        return False

    def keep(self, moment: Moment, position: Position, trunk: Position | None) -> None:
        """Keeps nothing."""

    def complete(self, moment: Moment, position: Position) -> None:
        """Goes on."""
