"""Compiles the next cohort's program in a thread, while the present one trains."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import jax

from harness.plan import Cohort
from harness.program import Program

Key = tuple[Cohort, int]
"""A cohort, and how many of its runs the program is for at once."""


class Ahead:
    """One program that is compiled, or being compiled, before it is asked for."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="compile")
        self._key: Key | None = None
        self._program: Future[Program] | None = None

    def start(self, key: Key, compile_it: Callable[[], Program]) -> None:
        """Begins, unless another is still being compiled, or this one was."""
        if self._program and (_same(self._key, key) or not self._program.done()):
            return
        self._key, self._program = key, self._thread.submit(compile_it)

    def take(self, key: Key) -> Program | None:
        """The program, waited for if it is on its way; None if it was not begun, or
        could not be made: whoever compiles it then will see the error."""
        if self._program is None or not _same(self._key, key):
            return None
        program, self._key, self._program = self._program, None, None
        return None if program.exception() else program.result()

    def close(self) -> None:
        """Begins no more."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def has_room() -> bool:
    """Whether compiling does not take the time of training: an accelerator trains, or
    this process has a second core."""
    if jax.default_backend() != "cpu":
        return True
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) > 1
    return (os.cpu_count() or 1) > 1


def _same(one: Key | None, other: Key) -> bool:
    return one is not None and one[0] is other[0] and one[1] == other[1]
