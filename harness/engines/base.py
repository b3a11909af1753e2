"""The protocol of engines, and the engines by name.

The store knows what is to do, so an engine only starts workers somewhere and starts
others for those that die while work is left. A new engine is a module with a class of
these methods, and a line in `ENGINES`.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from harness.errors import SpecError
from harness.specs.registry import nearest

DONE, MISTAKE, STOPPED = 0, 2, 75
"""Exit codes of a worker after which no other takes its place: nothing is left to do,
the user made a mistake that would meet every worker alike, or it was asked to stop."""
UNREACHABLE = 74
"""Exit code of a worker that could not reach the store for minutes: another is started,
as it may find it again, perhaps by another way."""
ENGINES = {"local": "harness.engines.local:LocalEngine"}
"""Module and class of each engine, by the name that `--engine` gives."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """A place for a worker."""

    cores: tuple[int, ...] = ()
    """CPU cores it is bound to; none for no binding."""
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Engine(Protocol):
    """Workers of one sweep, started and watched together."""

    def slots(self, workers: int | None, trunks: int, devices: int) -> list[Slot]:
        """Places for `workers` workers, by default as many as are best here.

        There are no more than `trunks`; each worker has `devices` devices.
        """
        ...

    def start(self, command: Sequence[str], slots: Sequence[Slot], logs: Path) -> None:
        """Runs `command` in each slot, with `--slot` and its number added to it.

        What the workers print goes to files in `logs`.
        """
        ...

    def poll(self) -> bool:
        """Starts what must be started; returns whether any worker runs or will run."""
        ...

    def news(self) -> list[str]:
        """A line for each thing that happened to the workers since the last call."""
        ...

    def stop(self) -> None:
        """Asks all workers to checkpoint and let go, and waits until they have."""
        ...

    @property
    def error(self) -> str | None:
        """The user's mistake that ended the workers, if one did."""
        ...


def engine_named(name: str) -> Engine:
    """A new engine of this name. Raises `SpecError` that lists the known ones."""
    if name not in ENGINES:
        question = nearest(name, ENGINES) or ";"
        raise SpecError(
            f"--engine {name!r} is not known{question} known are {', '.join(ENGINES)}"
        )
    module, _, kind = ENGINES[name].partition(":")
    engine: Engine = getattr(importlib.import_module(module), kind)()
    return engine
