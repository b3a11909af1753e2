"""Compiles the next cohort's program in a thread, while the present one trains."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import jax

from harness.sweeps.plan import Cohort
from harness.training import device
from harness.training.program import Program, ProgramShape

Key = tuple[Cohort, ProgramShape]
"""A cohort, and what the program depends on of those that it trains at once."""


class BackgroundCompiler:
    """One program that is compiled, or being compiled, before it is asked for."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="compile")
        self._begun: tuple[Key, Future[Program]] | None = None

    def start(self, key: Key, compile_it: Callable[[], Program]) -> None:
        """Begins, unless another is still being compiled, or this one was."""
        if self._begun and (self._is(key) or not self._begun[1].done()):
            return
        self._begun = key, self._thread.submit(compile_it)

    def take(self, key: Key) -> Program | None:
        """The program, waited for if it is on its way; None if it was not begun, or
        could not be made: whoever compiles it then will see the error."""
        if self._begun is None or not self._is(key):
            return None
        program = self._begun[1]
        self.forget()
        return None if program.exception() else program.result()

    def forget(self) -> None:
        """Lets go of the program, and with it of data that only it still holds."""
        self._begun = None

    def close(self) -> None:
        """Begins no more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _is(self, key: Key) -> bool:
        # Cohorts are told apart as objects: to compare thousands of runs would be slow.
        known = self._begun and self._begun[0]
        return bool(known and known[0] is key[0] and known[1] == key[1])


def should_compile_ahead() -> bool:
    """Whether compiling does not take the time of training: an accelerator trains, or
    this process has a second core."""
    return jax.default_backend() != "cpu" or device.cores() > 1
