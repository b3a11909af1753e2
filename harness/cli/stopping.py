"""Stopping on SIGINT and SIGTERM without tearing anything.

While runs are trained, a signal asks for a stop, and the stop happens between two
chunks; a second signal, or one at any other time, ends the process at once. That is
safe because every file of a store is published whole, and safer than an exception out
of nowhere, which can crash an extension module that is being imported.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator

from harness.errors import Interrupted

INTERRUPTED = 75
SHOW_CURSOR = b"\x1b[?25h"


class Stopper:
    """Says when to stop; one per process."""

    def __init__(self) -> None:
        self.waiting = self.requested = False

    def listen(self) -> None:
        """Answers SIGINT and SIGTERM from now on."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._signalled())

    @contextlib.contextmanager
    def at_safe_points(self) -> Iterator[None]:
        """Within the block a first signal waits for the next `check`."""
        self.waiting = True
        try:
            yield
        finally:
            self.waiting = False

    def check(self) -> None:
        """A safe point: raises `Interrupted` if a stop was asked for."""
        if self.requested:
            raise Interrupted

    def _signalled(self) -> None:
        if not self.waiting or self.requested:
            cursor = SHOW_CURSOR if sys.stderr.isatty() else b""
            os.write(2, cursor + b"interrupted\n")
            os._exit(INTERRUPTED)
        self.requested = True


STOPPER = Stopper()
