"""Stopping on signals without tearing anything.

While runs are trained, or workers watched, a signal asks for a stop, which happens at
the next safe point; a second signal, or one at any other time, ends the process at
once. That is safe because every file of a store is published whole, and safer than an
exception out of nowhere, which can crash an extension module that is being imported.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator

INTERRUPTED = 75
SHOW_CURSOR = b"\x1b[?25h"
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR2")
"""SIGUSR2 is what batch systems send some minutes before they end a job."""


class Stopper:
    """The request to stop, once a signal has made it; one per process."""

    def __init__(self) -> None:
        self.waiting = self.requested = False

    def listen(self) -> None:
        """Answers the signals from now on."""
        for name in SIGNALS:
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), lambda *_: self._signalled())

    @contextlib.contextmanager
    def at_safe_points(self) -> Iterator[None]:
        """A block in which a first signal waits until somebody looks at `requested`."""
        self.waiting = True
        try:
            yield
        finally:
            self.waiting = False

    def _signalled(self) -> None:
        if not self.waiting or self.requested:
            cursor = SHOW_CURSOR if sys.stderr.isatty() else b""
            os.write(2, cursor + b"interrupted\n")
            os._exit(INTERRUPTED)
        self.requested = True


STOPPER = Stopper()
