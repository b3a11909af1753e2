"""Stopping on signals without tearing anything.

While runs are trained, or workers watched, a signal asks for a stop, which happens at
the next safe point. A second one soon after is the same request: a batch system signals
launcher and workers alike, and the launcher passes its own on. A third, a second one
later, or one at any other time ends the process at once. That is safe because every
file of a store is published whole, and safer than an exception out of nowhere, which
can crash an extension module that is being imported.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator

INTERRUPTED = 75
SHOW_CURSOR = b"\x1b[?25h"
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
"""Batch systems send one of the last two some minutes before they end a job."""
GRACE_S = 10.0
"""A second signal that comes within this time repeats the request of the first."""


class Stopper:
    """The request to stop, once a signal has made it; one per process."""

    def __init__(self) -> None:
        self.waiting = False
        self._times: list[float] = []
        """When signals came, on the monotonic clock."""

    @property
    def requested(self) -> bool:
        """Whether somebody has asked for a stop."""
        return bool(self._times)

    def listen(self) -> None:
        """Answers the signals from now on."""
        for name in SIGNALS:
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), lambda *_: self._signalled())

    @contextlib.contextmanager
    def at_safe_points(self) -> Iterator[None]:
        """A block in which a signal waits until somebody looks at `requested`."""
        self.waiting = True
        try:
            yield
        finally:
            self.waiting = False

    def _signalled(self) -> None:
        self._times.append(time.monotonic())
        first, last = self._times[0], self._times[-1]
        one_request = len(self._times) < 3 and last - first < GRACE_S
        if not (self.waiting and one_request):
            cursor = SHOW_CURSOR if sys.stderr.isatty() else b""
            os.write(2, cursor + b"interrupted\n")
            os._exit(INTERRUPTED)


STOPPER = Stopper()
