"""Defaults of how workers work, for the command line and the workers alike (light)."""

from __future__ import annotations

import dataclasses

from harness.errors import StoreError

CHECKPOINT_S = 30.0
"""Seconds of training between two checkpoints: what a crash can cost at most."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """Seconds between beats, and without one until others may take over.

    A claim carries the terms of its holder, so workers need not agree on them.
    """

    beat_s: float = 5.0
    stale_s: float = 90.0

    def __post_init__(self) -> None:
        if not 0 < 3 * self.beat_s <= self.stale_s:
            raise StoreError(
                f"a lease of {self.stale_s:g} s needs a beat of at most a third of "
                f"that, not {self.beat_s:g} s"
            )
